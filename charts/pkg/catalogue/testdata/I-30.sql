SELECT d, unit, cat, n, m, source
FROM (
  SELECT d, if(grouping(unit_of) = 1, '', unit_of) AS unit, '' AS cat, toNullable(quantileExactInclusive(0.5)(y)) AS n, CAST(NULL, 'Nullable(Float64)') AS m, count() AS source
  FROM (
    SELECT d, unit_of, y
    FROM (
      SELECT p.unit AS unit_of, p.here AS here, f1.v1 AS v
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
      INNER JOIN (
        SELECT person,
          arrayMap((d, x) -> if(isNull(tupleElement(x, 1)), -1, dateDiff('day', assumeNotNull(tupleElement(x, 1)), d) / 365.25), {dates:Array(Date32)}, states) AS v1
        FROM (
          SELECT person, arrayMap(d -> tupleElement(arrayFirst(x -> tupleElement(tupleElement(x, 1), 1) <= d, xs), 2), {dates:Array(Date32)}) AS states
          FROM (
            SELECT id_number_token AS person, arrayReverseSort(x -> tupleElement(x, 1), groupArray(((effective_from, _version), tuple(entry_on)))) AS xs
            FROM worker FINAL
            WHERE effective_from <= arrayMax({dates:Array(Date32)})
            GROUP BY person
          )
        )
      ) AS f1 ON p.person = f1.person
      WHERE p.unit IN {units:Array(String)}
    )
    ARRAY JOIN {dates:Array(Date32)} AS d, here AS h, v AS y
    WHERE h > 0 AND y >= 0
  )
  GROUP BY GROUPING SETS ((d, unit_of), (d))
)
WHERE unit IN {units:Array(String)} OR unit = ''
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1
-- categories = ['01','02','03']
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
