SELECT d, unit, cat, n, m, source
FROM (
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM station))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, uniqExact(xxh3(key)) AS v, count() AS source
      FROM (
        SELECT d, unit, '' AS cat, [toString(county_code), toString(township_name)] AS key
        FROM (
          SELECT *
          FROM (
            SELECT d, toString(reporting_unit) AS unit, county_code, opened_on, township_name
            FROM (SELECT * FROM station FINAL WHERE xxh3(reporting_unit, record_id) NOT IN (
              SELECT arrayJoin(arrayPopFront(arrayMap(x -> x.2, arrayReverseSort(groupArray((bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version)), xxh3(reporting_unit, record_id))))))) AS h
              FROM station FINAL
              WHERE (reporting_unit, record_id) IN (SELECT reporting_unit, record_id FROM station WHERE xxh3(reporting_unit, station_id) IN (
                SELECT arrayJoin(arrayFilter((h, before) -> h = before, hs, arrayPushFront(arrayPopBack(hs), 0))) AS h
                FROM (SELECT arraySort(groupArray(xxh3(reporting_unit, station_id))) AS hs FROM station GROUP BY xxh3(reporting_unit, station_id) % 16)
              ))
              GROUP BY reporting_unit, station_id
            ))
            ARRAY JOIN {dates:Array(Date32)} AS d
          )
          WHERE ifNull(opened_on <= d, true)
        )
      )
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS t
  INNER JOIN (
    SELECT d, unit, '' AS cat, toFloat64(argMax(total, level)) AS v, argMax(areas, level) AS source
    FROM (
      SELECT d, unit, multiIf(endsWith(area, '0000'), 3, endsWith(area, '00'), 2, 1) AS level, sum(x) AS total, count() AS areas
      FROM (
        SELECT n.d AS d, leftPad(toString(c.place), 6, '0') AS unit, toString(c.area) AS area, c.x AS x
        FROM (
          SELECT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, division_code AS area, period AS month,
            argMax(township_total, bitOr(bitShiftLeft(toUInt128(reporting_unit != '000000'), 120), _version)) AS x
          FROM context FINAL
          WHERE township_total IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}) AND (place, month) IN (SELECT place, newest FROM (
            SELECT place, d, max(month) AS newest
            FROM (SELECT DISTINCT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, period AS month FROM context FINAL WHERE township_total IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}))
            ARRAY JOIN {dates:Array(Date32)} AS d
            WHERE month <= d
            GROUP BY place, d
          ))
          GROUP BY place, area, month
        ) AS c
        INNER JOIN (
          SELECT place, d, max(month) AS newest
          FROM (SELECT DISTINCT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, period AS month FROM context FINAL WHERE township_total IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}))
          ARRAY JOIN {dates:Array(Date32)} AS d
          WHERE month <= d
          GROUP BY place, d
        ) AS n ON c.place = n.place AND c.month = n.newest
      )
      GROUP BY d, unit, level
    )
    GROUP BY d, unit
  ) AS b ON t.d = b.d AND t.unit = b.unit
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
