SELECT d, unit, cat, n, m, source
FROM (
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM policy_doc))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, uniqExact(xxh3(key)) AS v, count() AS source
      FROM (
        SELECT d, unit, '' AS cat, [toString(arrayJoin(topics))] AS key
        FROM (
          SELECT *
          FROM (
            SELECT d, toString(reporting_unit) AS unit, issued_on, repealed_on, topics
            FROM (SELECT * FROM policy_doc FINAL WHERE xxh3(reporting_unit, record_id) NOT IN (
              SELECT arrayJoin(arrayPopFront(arrayMap(x -> x.2, arrayReverseSort(groupArray((bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version)), xxh3(reporting_unit, record_id))))))) AS h
              FROM policy_doc FINAL
              WHERE (reporting_unit, record_id) IN (SELECT reporting_unit, record_id FROM policy_doc WHERE xxh3(reporting_unit, doc_no) IN (
                SELECT arrayJoin(arrayFilter((h, before) -> h = before, hs, arrayPushFront(arrayPopBack(hs), 0))) AS h
                FROM (SELECT arraySort(groupArray(xxh3(reporting_unit, doc_no))) AS hs FROM policy_doc GROUP BY xxh3(reporting_unit, doc_no) % 16)
              ))
              GROUP BY reporting_unit, doc_no
            ))
            ARRAY JOIN {dates:Array(Date32)} AS d
          )
          WHERE ifNull(issued_on <= d, true) AND ifNull(repealed_on > d, true)
        )
      )
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS t
  INNER JOIN (
    SELECT d, unit, cat, {factor:Float64} AS v, toUInt64(0) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM policy_doc))
    )
  ) AS b ON t.d = b.d AND t.unit = b.unit
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- factor = 6
-- units = ['310000']
