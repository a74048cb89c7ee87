SELECT d, unit, cat, n, m, source
FROM (
  SELECT d, unit, cat, toNullable(v) AS n, CAST(NULL, 'Nullable(Float64)') AS m, source
  FROM (
    SELECT d, unit, '' AS cat, toFloat64(sum(greatest(0, ceil(need.x / {ratio:Float64}) - ifNull(have.v, 0)))) AS v, toUInt64(count() + sum(ifNull(have.source, 0))) AS source
    FROM (
      SELECT * FROM (
        SELECT n.d AS d, leftPad(toString(c.place), 6, '0') AS unit, toString(c.area) AS area, c.x AS x
        FROM (
          SELECT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, division_code AS area, period AS month,
            argMax(registered_users, bitOr(bitShiftLeft(toUInt128(reporting_unit != '000000'), 120), _version)) AS x
          FROM context FINAL
          WHERE registered_users IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}) AND NOT endsWith(division_code, '00') AND (place, month) IN (SELECT place, newest FROM (
            SELECT place, d, max(month) AS newest
            FROM (SELECT DISTINCT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, period AS month FROM context FINAL WHERE registered_users IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}) AND NOT endsWith(division_code, '00'))
            ARRAY JOIN {dates:Array(Date32)} AS d
            WHERE month <= d
            GROUP BY place, d
          ))
          GROUP BY place, area, month
        ) AS c
        INNER JOIN (
          SELECT place, d, max(month) AS newest
          FROM (SELECT DISTINCT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, period AS month FROM context FINAL WHERE registered_users IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}) AND NOT endsWith(division_code, '00'))
          ARRAY JOIN {dates:Array(Date32)} AS d
          WHERE month <= d
          GROUP BY place, d
        ) AS n ON c.place = n.place AND c.month = n.newest
      )
      WHERE unit IN (SELECT DISTINCT toString(reporting_unit) FROM employment)
    ) AS need
    LEFT JOIN (
      SELECT d, unit, area, v, v AS source
      FROM (
        SELECT unit, county AS area, sumForEach(here) AS flags
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
        )
        GROUP BY unit, area
      )
      ARRAY JOIN {dates:Array(Date32)} AS d, flags AS v
    ) AS have ON need.d = have.d AND need.unit = have.unit AND need.area = have.area
    GROUP BY d, unit
  )
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- categories = ['01','02','03']
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- ratio = 30
-- units = ['310000']
