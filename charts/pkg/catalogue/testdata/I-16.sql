WITH persons AS (
  SELECT person, tupleElement(s, 2) AS unit, tupleElement(s, 4) AS category, tupleElement(s, 5) AS county,
    arrayMap(d -> toUInt64(tupleElement(s, 6) <= d AND tupleElement(s, 7) > d
      AND NOT arrayExists(o -> o < s AND tupleElement(o, 6) <= d AND tupleElement(o, 7) > d, spells)), {dates:Array(Date32)}) AS here
  FROM (
    SELECT id_number_token AS person,
      groupArray((-toInt32(start_on), toString(reporting_unit), record_id, toString(worker_category), toString(county_code), start_on, ifNull(end_on, toDate32('2299-12-31')))) AS spells
    FROM employment FINAL
    WHERE worker_category IN {categories:Array(String)}
    GROUP BY person
  )
  ARRAY JOIN spells AS s
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
      SELECT d, unit, cat, v, v AS source
      FROM (
        SELECT p.unit AS unit, '' AS cat,
          sumForEach(arrayMap((h, d) -> h AND arrayExists(x -> x <= d AND x >= toDate32(toStartOfYear(d)), e.days), p.here, {dates:Array(Date32)})) AS flags
        FROM persons AS p
        INNER JOIN (
          WITH newest AS (
            SELECT reporting_unit, session_id, id_number_token,
              argMax(passed, _version) AS fact, argMax(effective_from, _version) AS day, argMax('', _version) AS bar
            FROM attendance FINAL
            GROUP BY reporting_unit, session_id, id_number_token
          )
          SELECT id_number_token AS person, '' AS tier, groupArray(day) AS days
          FROM (SELECT * FROM newest)
          WHERE ifNull(toString(fact), '') = {with_is:String}
          GROUP BY person
        ) AS e ON p.person = e.person
        GROUP BY unit, cat
      )
      ARRAY JOIN {dates:Array(Date32)} AS d, flags AS v
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS t
  INNER JOIN (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin({codes:Array(String)}) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM employment))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, v, v AS source
      FROM (
        SELECT unit, '' AS cat, sumForEach(here) AS flags
        FROM persons
        GROUP BY unit, cat
      )
      ARRAY JOIN {dates:Array(Date32)} AS d, flags AS v
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
-- with_is = true
