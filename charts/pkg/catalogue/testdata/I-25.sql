SELECT d, unit, cat, n, m, source
FROM (
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM project UNION ALL SELECT DISTINCT toString(reporting_unit) AS unit FROM post))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, count() AS v, count() AS source
      FROM (
        SELECT d, unit, '' AS cat, '' AS key
        FROM (
          SELECT *
          FROM (
            SELECT d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS end_on, tupleElement(t, 3) AS project_id
            FROM (SELECT argMax((toString(reporting_unit), end_on, project_id), (substring(purchaser_uscc, 3, 2) = substring(reporting_unit, 1, 2), -toInt32(reporting_unit), _version)) AS t FROM project FINAL GROUP BY purchaser_uscc, project_id)
            ARRAY JOIN {dates:Array(Date32)} AS d
          )
          WHERE ifNull(end_on <= d AND end_on >= toDate32(toStartOfYear(d)), false) AND (d, unit, toString(project_id)) IN (
            SELECT d, unit, toString(subject_key) FROM (
              SELECT *
              FROM (
                SELECT d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS evaluated_on, tupleElement(t, 3) AS evaluator_type, tupleElement(t, 4) AS subject_key, tupleElement(t, 5) AS subject_type
                FROM (SELECT argMax((toString(reporting_unit), evaluated_on, evaluator_type, subject_key, subject_type), (-toInt32(reporting_unit), _version)) AS t FROM evaluation FINAL GROUP BY reporting_unit, evaluation_id, year)
                ARRAY JOIN {dates:Array(Date32)} AS d
              )
              WHERE has({where_subject_type:Array(String)}, ifNull(toString(subject_type), '')) AND has({where_evaluator_type:Array(String)}, ifNull(toString(evaluator_type), '')) AND ifNull(evaluated_on <= d AND evaluated_on >= toDate32('1900-01-01'), false)
            )
          )
        )
        UNION ALL
        SELECT d, unit, '' AS cat, '' AS key
        FROM (
          SELECT *
          FROM (
            SELECT d, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 1) AS unit, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 2) AS budget_year, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 3) AS end_on, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 4) AS post_id
            FROM (SELECT arrayReverseSort(x -> tupleElement(x, 2), groupArray((effective_from, (substring(purchaser_uscc, 3, 2) = substring(reporting_unit, 1, 2), effective_from, -toInt32(reporting_unit), _version), (toString(reporting_unit), budget_year, end_on, post_id)))) AS xs FROM post FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) GROUP BY purchaser_uscc, post_id, budget_year)
            ARRAY JOIN {dates:Array(Date32)} AS d
            WHERE arrayExists(x -> tupleElement(x, 1) <= d, xs)
          )
          WHERE ifNull(end_on <= d AND end_on >= toDate32(toStartOfYear(d)), false) AND (d, unit, toString(post_id), toString(budget_year)) IN (
            SELECT d, unit, toString(subject_key), toString(year) FROM (
              SELECT *
              FROM (
                SELECT d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS evaluated_on, tupleElement(t, 3) AS evaluator_type, tupleElement(t, 4) AS subject_key, tupleElement(t, 5) AS subject_type, tupleElement(t, 6) AS year
                FROM (SELECT argMax((toString(reporting_unit), evaluated_on, evaluator_type, subject_key, subject_type, year), (-toInt32(reporting_unit), _version)) AS t FROM evaluation FINAL GROUP BY reporting_unit, evaluation_id, year)
                ARRAY JOIN {dates:Array(Date32)} AS d
              )
              WHERE has({where_subject_type_2:Array(String)}, ifNull(toString(subject_type), '')) AND has({where_evaluator_type:Array(String)}, ifNull(toString(evaluator_type), '')) AND ifNull(evaluated_on <= d AND evaluated_on >= toDate32('1900-01-01'), false)
            )
          )
        )
      )
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS t
  INNER JOIN (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM project UNION ALL SELECT DISTINCT toString(reporting_unit) AS unit FROM post))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, count() AS v, count() AS source
      FROM (
        SELECT d, unit, '' AS cat, '' AS key
        FROM (
          SELECT *
          FROM (
            SELECT d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS end_on
            FROM (SELECT argMax((toString(reporting_unit), end_on), (substring(purchaser_uscc, 3, 2) = substring(reporting_unit, 1, 2), -toInt32(reporting_unit), _version)) AS t FROM project FINAL GROUP BY purchaser_uscc, project_id)
            ARRAY JOIN {dates:Array(Date32)} AS d
          )
          WHERE ifNull(end_on <= d AND end_on >= toDate32(toStartOfYear(d)), false)
        )
        UNION ALL
        SELECT d, unit, '' AS cat, '' AS key
        FROM (
          SELECT *
          FROM (
            SELECT d, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 1) AS unit, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 2) AS end_on
            FROM (SELECT arrayReverseSort(x -> tupleElement(x, 2), groupArray((effective_from, (substring(purchaser_uscc, 3, 2) = substring(reporting_unit, 1, 2), effective_from, -toInt32(reporting_unit), _version), (toString(reporting_unit), end_on)))) AS xs FROM post FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) GROUP BY purchaser_uscc, post_id, budget_year)
            ARRAY JOIN {dates:Array(Date32)} AS d
            WHERE arrayExists(x -> tupleElement(x, 1) <= d, xs)
          )
          WHERE ifNull(end_on <= d AND end_on >= toDate32(toStartOfYear(d)), false)
        )
      )
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS b ON t.d = b.d AND t.unit = b.unit
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
-- where_evaluator_type = ['2']
-- where_subject_type = ['2']
-- where_subject_type_2 = ['3']
