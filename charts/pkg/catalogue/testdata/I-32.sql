SELECT d, unit, cat, n, m, source
FROM (
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM employment))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, count() AS v, count() AS source
      FROM (
        SELECT d, unit, '' AS cat, '' AS key
        FROM (
          SELECT *
          FROM (
            SELECT d, toString(reporting_unit) AS unit, end_on, social_insurance, start_on, worker_category
            FROM (SELECT * FROM employment FINAL WHERE xxh3(reporting_unit, record_id) NOT IN (
              SELECT arrayJoin(arrayPopFront(arrayMap(x -> x.2, arrayReverseSort(groupArray((bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version)), xxh3(reporting_unit, record_id))))))) AS h
              FROM employment FINAL
              WHERE (reporting_unit, record_id) IN (SELECT reporting_unit, record_id FROM employment WHERE xxh3(id_number_token, employer_uscc, start_on) IN (
                SELECT arrayJoin(arrayFilter((h, before) -> h = before, hs, arrayPushFront(arrayPopBack(hs), 0))) AS h
                FROM (SELECT arraySort(groupArray(xxh3(id_number_token, employer_uscc, start_on))) AS hs FROM employment GROUP BY xxh3(id_number_token, employer_uscc, start_on) % 16)
              ))
              GROUP BY id_number_token, employer_uscc, start_on
            ))
            ARRAY JOIN {dates:Array(Date32)} AS d
          )
          WHERE ifNull(toString(worker_category), '') IN {where_worker_category:Array(String)} AND ifNull(social_insurance, false) AND ifNull(start_on <= d, true) AND ifNull(end_on > d, true)
        )
      )
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS t
  INNER JOIN (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM employment))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, count() AS v, count() AS source
      FROM (
        SELECT d, unit, '' AS cat, '' AS key
        FROM (
          SELECT *
          FROM (
            SELECT d, toString(reporting_unit) AS unit, end_on, social_insurance, start_on, worker_category
            FROM (SELECT * FROM employment FINAL WHERE xxh3(reporting_unit, record_id) NOT IN (
              SELECT arrayJoin(arrayPopFront(arrayMap(x -> x.2, arrayReverseSort(groupArray((bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version)), xxh3(reporting_unit, record_id))))))) AS h
              FROM employment FINAL
              WHERE (reporting_unit, record_id) IN (SELECT reporting_unit, record_id FROM employment WHERE xxh3(id_number_token, employer_uscc, start_on) IN (
                SELECT arrayJoin(arrayFilter((h, before) -> h = before, hs, arrayPushFront(arrayPopBack(hs), 0))) AS h
                FROM (SELECT arraySort(groupArray(xxh3(id_number_token, employer_uscc, start_on))) AS hs FROM employment GROUP BY xxh3(id_number_token, employer_uscc, start_on) % 16)
              ))
              GROUP BY id_number_token, employer_uscc, start_on
            ))
            ARRAY JOIN {dates:Array(Date32)} AS d
          )
          WHERE ifNull(toString(worker_category), '') IN {where_worker_category:Array(String)} AND ifNull(toString(social_insurance), '') != '' AND ifNull(start_on <= d, true) AND ifNull(end_on > d, true)
        )
      )
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS b ON t.d = b.d AND t.unit = b.unit
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- categories = ['01','02','03']
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
-- where_worker_category = ['01','02','03']
