SELECT d, unit, cat, n, m, source
FROM (
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT d, unit, cat, n AS v, source
    FROM (
      SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.n, 0)) AS n, toFloat64(ifNull(c.m, 0)) AS m, toUInt64(ifNull(c.source, 0)) AS source
      FROM (
        SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
        FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM employment))
      ) AS g
      LEFT JOIN (
        SELECT d, unit, cat, n, m, heads AS source
        FROM (
          SELECT p.unit AS unit, '' AS cat, sumForEach(p.here) AS ns, sumForEach(p.here) AS ms, sumForEach(p.here) AS hs
          FROM (
            SELECT person, leftPad(toString(s), 6, '0') AS unit, leftPad(toString(c), 2, '0') AS category, if(a = 0, '', leftPad(toString(a), 6, '0')) AS county,
              arrayMap(f -> f = i, firsts) AS here
            FROM (
              SELECT person, spells.2 AS units, spells.3 AS begins, spells.4 AS ends, spells.5 AS categories, spells.6 AS areas,
                arrayMap(d -> arrayFirst((x, b, e) -> b <= d AND e > d, arrayEnumerate(units), begins, ends), {dates:Array(Date32)}) AS firsts
              FROM (
                SELECT reinterpretAsUInt128(substring(id_number_token, 17)) AS person, arraySort(groupArray((bitShiftLeft(toInt256(-toInt32(start_on)), 84) + bitShiftLeft(toInt256(toUInt32(toString(reporting_unit))), 64) + xxh3(record_id), toUInt32(toString(reporting_unit)), start_on, ifNull(end_on, toDate32('2299-12-31')), toUInt8OrZero(toString(worker_category)), toUInt32OrZero(toString(county_code))))) AS spells
                FROM employment FINAL
                WHERE worker_category IN {categories:Array(String)} AND start_on <= arrayMax({dates:Array(Date32)}) AND ifNull(end_on > arrayMin({dates:Array(Date32)}), true)
                GROUP BY person
              )
            )
            ARRAY JOIN units AS s, categories AS c, areas AS a, arrayEnumerate(units) AS i
          ) AS p
          GROUP BY unit, cat
        )
        ARRAY JOIN {dates:Array(Date32)} AS d, ns AS n, ms AS m, hs AS heads
      ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
    )
  ) AS t
  INNER JOIN (
    SELECT d, unit, '' AS cat, toFloat64(argMax(total, level)) AS v, argMax(areas, level) AS source
    FROM (
      SELECT d, unit, multiIf(endsWith(area, '0000'), 3, endsWith(area, '00'), 2, 1) AS level, sum(x) AS total, count() AS areas
      FROM (
        SELECT n.d AS d, leftPad(toString(c.place), 6, '0') AS unit, toString(c.area) AS area, c.x AS x
        FROM (
          SELECT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, division_code AS area, period AS month,
            argMax(registered_users, bitOr(bitShiftLeft(toUInt128(reporting_unit != '000000'), 120), _version)) AS x
          FROM context FINAL
          WHERE registered_users IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}) AND (place, month) IN (SELECT place, newest FROM (
            SELECT place, d, max(month) AS newest
            FROM (SELECT DISTINCT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, period AS month FROM context FINAL WHERE registered_users IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}))
            ARRAY JOIN {dates:Array(Date32)} AS d
            WHERE month <= d
            GROUP BY place, d
          ))
          GROUP BY place, area, month
        ) AS c
        INNER JOIN (
          SELECT place, d, max(month) AS newest
          FROM (SELECT DISTINCT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, period AS month FROM context FINAL WHERE registered_users IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}))
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
-- categories = ['01','02','03']
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
