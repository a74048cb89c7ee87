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
        SELECT p.unit AS unit, e.tier AS cat,
          sumForEach(arrayMap((h, d) -> h AND arrayExists(x -> x <= d AND x >= toDate32(toStartOfYear(d)), e.days), p.here, {dates:Array(Date32)})) AS flags
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
        ) AS p
        INNER JOIN (
          SELECT person, tier, groupArray(x2) AS days
          FROM (
            WITH _version AS _order
            SELECT any(id_number_token) AS person, if(argMax(isNull(passed), _order), NULL, argMax(assumeNotNull(passed), _order)) AS x1, argMax(effective_from, _order) AS x2, argMax(reporting_unit, _order) AS x3, argMax(session_id, _order) AS x4
            FROM attendance FINAL
            GROUP BY xxh3(reporting_unit, session_id, id_number_token), cityHash64(reporting_unit, session_id, id_number_token)
          ) AS n
          INNER JOIN (SELECT reporting_unit, session_id, toString(argMax(tier, _version)) AS tier FROM training FINAL GROUP BY reporting_unit, session_id) AS t ON n.x3 = t.reporting_unit AND n.x4 = t.session_id
          WHERE ifNull(toString(x1), '') = {with_is:String}
          GROUP BY person, tier
        ) AS e ON p.person = e.person
        GROUP BY unit, cat
      )
      ARRAY JOIN {dates:Array(Date32)} AS d, flags AS v
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS t
  INNER JOIN (
    SELECT d, unit, cat, n AS v, source
    FROM (
      SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.n, 0)) AS n, toFloat64(ifNull(c.m, 0)) AS m, toUInt64(ifNull(c.heads, 0)) AS source
      FROM (
        SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
        FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM employment))
      ) AS g
      LEFT JOIN (
        SELECT d, unit, cat, n, m, heads
        FROM (
          SELECT p.unit AS unit, '' AS cat, sumForEach(p.here) AS ns, sumForEach(p.here) AS ms, sumForEach(p.here) AS hs
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
          ) AS p
          GROUP BY unit, cat
        )
        ARRAY JOIN {dates:Array(Date32)} AS d, ns AS n, ms AS m, hs AS heads
      ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
    )
  ) AS b ON t.d = b.d AND t.unit = b.unit
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1
-- categories = ['01','02','03']
-- codes = ['1','2','3','4']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
-- with_is = true
