SELECT d, unit, cat, n, m, source
FROM (
  SELECT d, unit, cat, toNullable(v) AS n, CAST(NULL, 'Nullable(Float64)') AS m, source
  FROM (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM training))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, count() AS v, count() AS source
      FROM (
        SELECT d, unit, '' AS cat, '' AS key
        FROM (
          SELECT *
          FROM (
            SELECT d, toString(reporting_unit) AS unit, start_on
            FROM (SELECT * FROM training FINAL WHERE xxh3(reporting_unit, record_id) NOT IN (
              SELECT arrayJoin(arrayPopFront(arrayMap(x -> x.2, arrayReverseSort(groupArray((bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version)), xxh3(reporting_unit, record_id))))))) AS h
              FROM training FINAL
              WHERE (reporting_unit, record_id) IN (SELECT reporting_unit, record_id FROM training WHERE xxh3(reporting_unit, session_id) IN (
                SELECT arrayJoin(arrayFilter((h, before) -> h = before, hs, arrayPushFront(arrayPopBack(hs), 0))) AS h
                FROM (SELECT arraySort(groupArray(xxh3(reporting_unit, session_id))) AS hs FROM training GROUP BY xxh3(reporting_unit, session_id) % 16)
              ))
              GROUP BY reporting_unit, session_id
            ))
            ARRAY JOIN {dates:Array(Date32)} AS d
          )
          WHERE ifNull(start_on <= d AND start_on >= toDate32(toStartOfMonth(d)), false)
        )
      )
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  )
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
