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
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT d, unit, '' AS cat, toFloat64(argMax(total, (month, level))) AS v, argMax(areas, (month, level)) AS source
    FROM (
      SELECT d, unit, month, multiIf(endsWith(area, '0000'), 3, endsWith(area, '00'), 2, 1) AS level, sum(x) AS total, count() AS areas
      FROM (
        SELECT if(reporting_unit = '000000', concat(substring(division_code, 1, 2), '0000'), toString(reporting_unit)) AS unit,
          toString(division_code) AS area, period AS month,
          argMax(registered_users, (reporting_unit != '000000', _version)) AS x
        FROM context FINAL
        WHERE registered_users IS NOT NULL
        GROUP BY unit, area, month
      )
      ARRAY JOIN {dates:Array(Date32)} AS d
      WHERE month <= d
      GROUP BY d, unit, month, level
    )
    GROUP BY d, unit
  ) AS t
  INNER JOIN (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin({codes:Array(String)}) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM employment))
    ) AS g
    LEFT JOIN (
      SELECT d, toString(unit) AS unit, '' AS cat, count() AS v, sum(spells) AS source
      FROM persons
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS b ON t.d = b.d AND t.unit = b.unit AND t.cat = b.cat
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1
-- categories = ['01','02','03']
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
