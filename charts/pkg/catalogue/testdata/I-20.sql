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
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin({codes:Array(String)}) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM employment))
    ) AS g
    LEFT JOIN (
      SELECT p.d AS d, toString(p.unit) AS unit, '' AS cat, count() AS v, sum(p.spells + e.records) AS source
      FROM persons AS p
      INNER JOIN (
        WITH newest AS (
          SELECT id_number_token, cert_level,
            argMax(cert_level, _version) AS fact, argMax(issued_on, _version) AS day, argMax(cert_status, _version) AS bar
          FROM qualification FINAL
          GROUP BY id_number_token, cert_level
        )
        SELECT d, id_number_token AS person, '' AS tier, count() AS records
        FROM (SELECT * FROM newest)
        ARRAY JOIN {dates:Array(Date32)} AS d
        WHERE day <= d AND day >= toDate32('1900-01-01') AND ifNull(toString(fact), '') >= {with_min:String} AND ifNull(toString(bar), '') != {with_unless:String}
        GROUP BY d, person
      ) AS e ON p.d = e.d AND p.person = e.person
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
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
-- with_min = 1
-- with_unless = 4
