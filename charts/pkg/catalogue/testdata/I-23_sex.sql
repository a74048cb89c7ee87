SELECT d, unit, cat, n, m, source
FROM (
  SELECT d, unit, cat, toNullable(n) AS n, toNullable(m) AS m, source
  FROM (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.n, 0)) AS n, toFloat64(ifNull(c.m, 0)) AS m, toUInt64(ifNull(c.heads, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin({codes:Array(String)}) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM employment))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, code AS cat, ns_of AS n, ms_of AS m, heads_of AS heads FROM (
        SELECT d, unit, cat AS code, sum(n) AS ns_of, sum(m) AS ms_of, sum(heads) AS heads_of
        FROM (
          SELECT p.unit AS unit, arrayResize(f1.v3, length({dates:Array(Date32)}), {none:String}) AS cats, arrayMap((h, xf1v1) -> if(h > 0 AND xf1v1 > 0, toFloat64(1), 0), p.here, arrayResize(f1.v1, length({dates:Array(Date32)}))) AS ns, arrayMap((h, xf1v2) -> if(h > 0 AND xf1v2 > 0, toFloat64(1), 0), p.here, arrayResize(f1.v2, length({dates:Array(Date32)}))) AS ms, p.here AS hs
          FROM (
            SELECT person, tupleElement(s, 2) AS unit, tupleElement(s, 4) AS category, tupleElement(s, 5) AS county,
              arrayMap(d -> toUInt64(tupleElement(s, 6) <= d AND tupleElement(s, 7) > d
                AND NOT arrayExists(o -> o < s AND tupleElement(o, 6) <= d AND tupleElement(o, 7) > d, spells)), {dates:Array(Date32)}) AS here
            FROM (
              SELECT id_number_token AS person, groupArray((-toInt32(start_on), toString(reporting_unit), record_id, toString(worker_category), toString(county_code), start_on, ifNull(end_on, toDate32('2299-12-31')))) AS spells
              FROM employment FINAL
              WHERE worker_category IN {categories:Array(String)} AND start_on <= arrayMax({dates:Array(Date32)}) AND ifNull(end_on > arrayMin({dates:Array(Date32)}), true)
              GROUP BY person
            )
            ARRAY JOIN spells AS s
          ) AS p
          LEFT JOIN (
            SELECT person,
              arrayMap((d, x) -> toFloat64(ifNull(toString(tupleElement(x, 1)), '') = {with_is:String}), {dates:Array(Date32)}, states) AS v1,
              arrayMap((d, x) -> toFloat64(ifNull(toString(tupleElement(x, 1)), '') != ''), {dates:Array(Date32)}, states) AS v2,
              arrayMap((d, x) -> transform(toString(tupleElement(x, 2)), {values:Array(String)}, {values_as:Array(String)}, {none:String}), {dates:Array(Date32)}, states) AS v3
            FROM (
              SELECT person, arrayMap(d -> tupleElement(arrayFirst(x -> tupleElement(tupleElement(x, 1), 1) <= d, xs), 2), {dates:Array(Date32)}) AS states
              FROM (
                SELECT id_number_token AS person, arrayReverseSort(x -> tupleElement(x, 1), groupArray(((effective_from, _version), tuple(major_social_work, sex)))) AS xs
                FROM worker FINAL
                WHERE effective_from <= arrayMax({dates:Array(Date32)})
                GROUP BY person
              )
            )
          ) AS f1 ON p.person = f1.person
        )
        ARRAY JOIN {dates:Array(Date32)} AS d, cats AS cat, ns AS n, ms AS m, hs AS heads
        WHERE heads > 0
        GROUP BY d, unit, code
      )
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  )
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1
-- categories = ['01','02','03']
-- codes = ['0','1','2','9']
-- dates = ['2016-10-31','2016-11-11']
-- none = 0
-- units = ['310000']
-- values = ['0','1','2','9']
-- values_as = ['0','1','2','9']
-- with_is = true
