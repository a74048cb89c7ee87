SELECT d, unit, cat, n, m, source
FROM (
  SELECT d, unit, cat, toNullable(v) AS n, CAST(NULL, 'Nullable(Float64)') AS m, source
  FROM (
    SELECT d, unit, '' AS cat, toFloat64(sum(greatest(0, ceil(need.x / {ratio:Float64}) - ifNull(have.v, 0)))) AS v, toUInt64(count() + sum(ifNull(have.source, 0))) AS source
    FROM (
      SELECT * FROM (
        SELECT d, unit, area, x
        FROM (
          SELECT d, unit, area, x, month, max(month) OVER (PARTITION BY d, unit) AS latest
          FROM (
            SELECT if(reporting_unit = '000000', concat(substring(division_code, 1, 2), '0000'), toString(reporting_unit)) AS unit,
              toString(division_code) AS area, period AS month,
              argMax(registered_users, bitOr(bitShiftLeft(toUInt128(reporting_unit != '000000'), 120), _version)) AS x
            FROM context FINAL
            WHERE registered_users IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}) AND NOT endsWith(division_code, '00')
            GROUP BY unit, area, month
          )
          ARRAY JOIN {dates:Array(Date32)} AS d
          WHERE month <= d
        )
        WHERE month = latest
      )
      WHERE unit IN (SELECT DISTINCT toString(reporting_unit) FROM employment)
    ) AS need
    LEFT JOIN (
      SELECT d, unit, area, v, v AS source
      FROM (
        SELECT unit, county AS area, sumForEach(here) AS flags
        FROM (
          SELECT person, tupleElement(s, 2) AS unit, tupleElement(s, 3) AS category, tupleElement(s, 4) AS county,
            arrayMap(d -> toUInt64(tupleElement(s, 5) <= d AND tupleElement(s, 6) > d
              AND NOT arrayExists(o -> tupleElement(o, 1) < tupleElement(s, 1) AND tupleElement(o, 5) <= d AND tupleElement(o, 6) > d, spells)), {dates:Array(Date32)}) AS here
          FROM (
            SELECT id_number_token AS person, groupArray((bitShiftLeft(toInt256(-toInt32(start_on)), 84) + bitShiftLeft(toInt256(toUInt32(toString(reporting_unit))), 64) + xxh3(record_id), toString(reporting_unit), toString(worker_category), toString(county_code), start_on, ifNull(end_on, toDate32('2299-12-31')))) AS spells
            FROM employment FINAL
            WHERE worker_category IN {categories:Array(String)} AND start_on <= arrayMax({dates:Array(Date32)}) AND ifNull(end_on > arrayMin({dates:Array(Date32)}), true)
            GROUP BY person
          )
          ARRAY JOIN spells AS s
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
SETTINGS join_use_nulls = 1
-- categories = ['01','02','03']
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- ratio = 30
-- units = ['310000']
