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
            SELECT d, toString(reporting_unit) AS unit, end_on, project_id
            FROM (SELECT * FROM project FINAL WHERE xxh3(reporting_unit, record_id) NOT IN (
              SELECT arrayJoin(arrayPopFront(arrayMap(x -> x.2, arrayReverseSort(groupArray((bitOr(bitShiftLeft(toUInt256(substring(purchaser_uscc, 3, 2) = substring(toString(reporting_unit), 1, 2)), 145), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version))), xxh3(reporting_unit, record_id))))))) AS h
              FROM project FINAL
              WHERE (reporting_unit, record_id) IN (SELECT reporting_unit, record_id FROM project WHERE xxh3(purchaser_uscc, project_id) IN (
                SELECT arrayJoin(arrayFilter((h, before) -> h = before, hs, arrayPushFront(arrayPopBack(hs), 0))) AS h
                FROM (SELECT arraySort(groupArray(xxh3(purchaser_uscc, project_id))) AS hs FROM project GROUP BY xxh3(purchaser_uscc, project_id) % 16)
              ))
              GROUP BY purchaser_uscc, project_id
            ))
            ARRAY JOIN {dates:Array(Date32)} AS d
          )
          WHERE ifNull(end_on <= d AND end_on >= toDate32(toStartOfYear(d)), false) AND (d, unit, toString(project_id)) IN (
            SELECT d, unit, toString(subject_key) FROM (
              SELECT *
              FROM (
                SELECT d, toString(reporting_unit) AS unit, evaluated_on, evaluator_type, subject_key, subject_type
                FROM (SELECT * FROM evaluation FINAL WHERE xxh3(reporting_unit, record_id) NOT IN (
                  SELECT arrayJoin(arrayPopFront(arrayMap(x -> x.2, arrayReverseSort(groupArray((bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version)), xxh3(reporting_unit, record_id))))))) AS h
                  FROM evaluation FINAL
                  WHERE (reporting_unit, record_id) IN (SELECT reporting_unit, record_id FROM evaluation WHERE xxh3(reporting_unit, evaluation_id, year) IN (
                    SELECT arrayJoin(arrayFilter((h, before) -> h = before, hs, arrayPushFront(arrayPopBack(hs), 0))) AS h
                    FROM (SELECT arraySort(groupArray(xxh3(reporting_unit, evaluation_id, year))) AS hs FROM evaluation GROUP BY xxh3(reporting_unit, evaluation_id, year) % 16)
                  ))
                  GROUP BY reporting_unit, evaluation_id, year
                ))
                ARRAY JOIN {dates:Array(Date32)} AS d
              )
              WHERE ifNull(toString(subject_type), '') IN {where_subject_type:Array(String)} AND ifNull(toString(evaluator_type), '') IN {where_evaluator_type:Array(String)} AND ifNull(evaluated_on <= d AND evaluated_on >= toDate32('1900-01-01'), false)
            )
          )
        )
        UNION ALL
        SELECT d, unit, '' AS cat, '' AS key
        FROM (
          SELECT *
          FROM (
            SELECT arrayJoin(arrayFilter((day, first) -> first = i, {dates:Array(Date32)}, firsts)) AS d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS budget_year, tupleElement(t, 3) AS end_on, tupleElement(t, 4) AS post_id
            FROM (
              SELECT xs.2 AS begins, xs.3 AS ts, arrayMap(d -> arrayFirstIndex(b -> b <= d, begins), {dates:Array(Date32)}) AS firsts
              FROM (WITH bitOr(bitShiftLeft(toUInt256(substring(purchaser_uscc, 3, 2) = substring(toString(reporting_unit), 1, 2)), 145), bitOr(bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version)))) AS _order SELECT arrayReverseSort(x -> x.1, groupArray((_order, effective_from, (toString(reporting_unit), budget_year, end_on, post_id)))) AS xs FROM (
              SELECT _version, budget_year, effective_from, end_on, post_id, purchaser_uscc, reporting_unit FROM post FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
              UNION ALL
              SELECT _version, budget_year, effective_from, end_on, post_id, purchaser_uscc, reporting_unit FROM post FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(purchaser_uscc, post_id, budget_year) IN (
              SELECT DISTINCT xxh3(purchaser_uscc, post_id, budget_year) AS h FROM post WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND (ifNull(end_on <= arrayMax({dates:Array(Date32)}) AND end_on >= toDate32(toStartOfYear(arrayMin({dates:Array(Date32)}))), false) OR xxh3(purchaser_uscc, post_id, budget_year) IN (SELECT xxh3(purchaser_uscc, post_id, budget_year) FROM post FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMax({dates:Array(Date32)}))) AND xxh3(purchaser_uscc, post_id, budget_year) NOT IN (SELECT xxh3(purchaser_uscc, post_id, budget_year) FROM post FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)}) AND substring(purchaser_uscc, 3, 2) = substring(toString(reporting_unit), 1, 2))
            )
            ) GROUP BY xxh3(purchaser_uscc, post_id, budget_year), cityHash64(purchaser_uscc, post_id, budget_year))
            )
            ARRAY JOIN ts AS t, arrayEnumerate(ts) AS i
          )
          WHERE ifNull(end_on <= d AND end_on >= toDate32(toStartOfYear(d)), false) AND (d, unit, toString(post_id), toString(budget_year)) IN (
            SELECT d, unit, toString(subject_key), toString(year) FROM (
              SELECT *
              FROM (
                SELECT d, toString(reporting_unit) AS unit, evaluated_on, evaluator_type, subject_key, subject_type, year
                FROM (SELECT * FROM evaluation FINAL WHERE xxh3(reporting_unit, record_id) NOT IN (
                  SELECT arrayJoin(arrayPopFront(arrayMap(x -> x.2, arrayReverseSort(groupArray((bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version)), xxh3(reporting_unit, record_id))))))) AS h
                  FROM evaluation FINAL
                  WHERE (reporting_unit, record_id) IN (SELECT reporting_unit, record_id FROM evaluation WHERE xxh3(reporting_unit, evaluation_id, year) IN (
                    SELECT arrayJoin(arrayFilter((h, before) -> h = before, hs, arrayPushFront(arrayPopBack(hs), 0))) AS h
                    FROM (SELECT arraySort(groupArray(xxh3(reporting_unit, evaluation_id, year))) AS hs FROM evaluation GROUP BY xxh3(reporting_unit, evaluation_id, year) % 16)
                  ))
                  GROUP BY reporting_unit, evaluation_id, year
                ))
                ARRAY JOIN {dates:Array(Date32)} AS d
              )
              WHERE ifNull(toString(subject_type), '') IN {where_subject_type_2:Array(String)} AND ifNull(toString(evaluator_type), '') IN {where_evaluator_type:Array(String)} AND ifNull(evaluated_on <= d AND evaluated_on >= toDate32('1900-01-01'), false)
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
            SELECT d, toString(reporting_unit) AS unit, end_on
            FROM (SELECT * FROM project FINAL WHERE xxh3(reporting_unit, record_id) NOT IN (
              SELECT arrayJoin(arrayPopFront(arrayMap(x -> x.2, arrayReverseSort(groupArray((bitOr(bitShiftLeft(toUInt256(substring(purchaser_uscc, 3, 2) = substring(toString(reporting_unit), 1, 2)), 145), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version))), xxh3(reporting_unit, record_id))))))) AS h
              FROM project FINAL
              WHERE (reporting_unit, record_id) IN (SELECT reporting_unit, record_id FROM project WHERE xxh3(purchaser_uscc, project_id) IN (
                SELECT arrayJoin(arrayFilter((h, before) -> h = before, hs, arrayPushFront(arrayPopBack(hs), 0))) AS h
                FROM (SELECT arraySort(groupArray(xxh3(purchaser_uscc, project_id))) AS hs FROM project GROUP BY xxh3(purchaser_uscc, project_id) % 16)
              ))
              GROUP BY purchaser_uscc, project_id
            ))
            ARRAY JOIN {dates:Array(Date32)} AS d
          )
          WHERE ifNull(end_on <= d AND end_on >= toDate32(toStartOfYear(d)), false)
        )
        UNION ALL
        SELECT d, unit, '' AS cat, '' AS key
        FROM (
          SELECT *
          FROM (
            SELECT arrayJoin(arrayFilter((day, first) -> first = i, {dates:Array(Date32)}, firsts)) AS d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS end_on
            FROM (
              SELECT xs.2 AS begins, xs.3 AS ts, arrayMap(d -> arrayFirstIndex(b -> b <= d, begins), {dates:Array(Date32)}) AS firsts
              FROM (WITH bitOr(bitShiftLeft(toUInt256(substring(purchaser_uscc, 3, 2) = substring(toString(reporting_unit), 1, 2)), 145), bitOr(bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version)))) AS _order SELECT arrayReverseSort(x -> x.1, groupArray((_order, effective_from, (toString(reporting_unit), end_on)))) AS xs FROM (
              SELECT _version, budget_year, effective_from, end_on, post_id, purchaser_uscc, reporting_unit FROM post FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
              UNION ALL
              SELECT _version, budget_year, effective_from, end_on, post_id, purchaser_uscc, reporting_unit FROM post FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(purchaser_uscc, post_id, budget_year) IN (
              SELECT DISTINCT xxh3(purchaser_uscc, post_id, budget_year) AS h FROM post WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND (ifNull(end_on <= arrayMax({dates:Array(Date32)}) AND end_on >= toDate32(toStartOfYear(arrayMin({dates:Array(Date32)}))), false) OR xxh3(purchaser_uscc, post_id, budget_year) IN (SELECT xxh3(purchaser_uscc, post_id, budget_year) FROM post FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMax({dates:Array(Date32)}))) AND xxh3(purchaser_uscc, post_id, budget_year) NOT IN (SELECT xxh3(purchaser_uscc, post_id, budget_year) FROM post FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)}) AND substring(purchaser_uscc, 3, 2) = substring(toString(reporting_unit), 1, 2))
            )
            ) GROUP BY xxh3(purchaser_uscc, post_id, budget_year), cityHash64(purchaser_uscc, post_id, budget_year))
            )
            ARRAY JOIN ts AS t, arrayEnumerate(ts) AS i
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
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
-- where_evaluator_type = ['2']
-- where_subject_type = ['2']
-- where_subject_type_2 = ['3']
