WITH persons AS (
  SELECT d, person, tupleElement(spell, 1) AS unit, tupleElement(spell, 2) AS category, tupleElement(spell, 3) AS county, spells
  FROM (
    SELECT d, id_number_token AS person,
      argMin((reporting_unit, worker_category, county_code), (-toInt32(start_on), reporting_unit, record_id)) AS spell,
      count() AS spells
    FROM (
      SELECT id_number_token, reporting_unit, record_id, worker_category, county_code, start_on, end_on
      FROM employment FINAL
      WHERE worker_category IN {categories:Array(String)}
    )
    ARRAY JOIN {dates:Array(Date32)} AS d
    WHERE start_on <= d AND (end_on IS NULL OR end_on > d)
    GROUP BY d, person
  )
)
SELECT d, unit, cat, n, m, source
FROM (
  SELECT d, unit, cat, toNullable(v) AS n, CAST(NULL, 'Nullable(Float64)') AS m, source
  FROM (
    SELECT d, unit, '' AS cat, toFloat64(sum(greatest(0, ceil(need.x / {ratio:Float64}) - ifNull(have.v, 0)))) AS v, toUInt64(count() + sum(ifNull(have.source, 0))) AS source
    FROM (
      SELECT l.d AS d, a.unit AS unit, a.area AS area, a.x AS x
      FROM (
        SELECT if(reporting_unit = '000000', concat(substring(division_code, 1, 2), '0000'), toString(reporting_unit)) AS unit,
          toString(division_code) AS area, period AS month,
          argMax(registered_users, (reporting_unit != '000000', _version)) AS x
        FROM context FINAL
        WHERE registered_users IS NOT NULL AND NOT endsWith(division_code, '00')
        GROUP BY unit, area, month
      ) AS a
      INNER JOIN (
        SELECT d, unit, max(month) AS latest
        FROM (
          SELECT if(reporting_unit = '000000', concat(substring(division_code, 1, 2), '0000'), toString(reporting_unit)) AS unit,
            toString(division_code) AS area, period AS month,
            argMax(registered_users, (reporting_unit != '000000', _version)) AS x
          FROM context FINAL
          WHERE registered_users IS NOT NULL AND NOT endsWith(division_code, '00')
          GROUP BY unit, area, month
        )
        ARRAY JOIN {dates:Array(Date32)} AS d
        WHERE month <= d
        GROUP BY d, unit
      ) AS l ON a.unit = l.unit AND a.month = l.latest
      WHERE a.unit IN (SELECT DISTINCT toString(reporting_unit) FROM employment)
    ) AS need
    LEFT JOIN (
      SELECT d, toString(unit) AS unit, toString(county) AS area, count() AS v, sum(spells) AS source
      FROM persons
      GROUP BY d, unit, area
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
