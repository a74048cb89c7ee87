SELECT d, unit, cat, n, m, source
FROM (
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin({codes:Array(String)}) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM evaluation))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, count() AS v, count() AS source
      FROM (
        SELECT d, unit, toString(subject_type) AS cat, '' AS key
        FROM (
          SELECT *
          FROM (
            SELECT d, toString(reporting_unit) AS unit, evaluated_on, grade, subject_type
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
          WHERE ifNull(toString(grade), '') IN {where_grade:Array(String)} AND ifNull(evaluated_on <= d AND evaluated_on >= toDate32(toStartOfYear(d)), false)
        )
      )
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS t
  INNER JOIN (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin({codes:Array(String)}) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM evaluation))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, count() AS v, count() AS source
      FROM (
        SELECT d, unit, toString(subject_type) AS cat, '' AS key
        FROM (
          SELECT *
          FROM (
            SELECT d, toString(reporting_unit) AS unit, evaluated_on, subject_type
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
          WHERE ifNull(evaluated_on <= d AND evaluated_on >= toDate32(toStartOfYear(d)), false)
        )
      )
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS b ON t.d = b.d AND t.unit = b.unit AND t.cat = b.cat
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- codes = ['1','2','3','4']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
-- where_grade = ['1']
