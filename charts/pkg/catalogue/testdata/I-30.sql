SELECT d, unit, cat, n, m, source
FROM (
  SELECT d, if(grouping(unit_of) = 1, '', unit_of) AS unit, '' AS cat, toNullable(quantileExactInclusive(0.5)(y)) AS n, CAST(NULL, 'Nullable(Float64)') AS m, count() AS source
  FROM (
    SELECT d, unit_of, y
    FROM (
      SELECT p.unit AS unit_of, p.here AS here, f1.v1 AS v
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
        SELECT person,
          arrayMap((d, x) -> if(isNull(x), -1, dateDiff('day', assumeNotNull(x), d) / 365.25), {dates:Array(Date32)}, x1) AS v1
        FROM (
          WITH bitOr(bitShiftLeft(toUInt128(toInt32(effective_from) + 40000), 107), _version) AS _order,
            toUInt32(3 - indexOf({days_back:Array(Int32)}, roundDown(-toInt32(effective_from), {days_back:Array(Int32)}))) AS _bucket
          SELECT id_number_token AS person,
            arrayMap((known, x) -> if(known = 1, x, NULL), arrayFill((x, o) -> o != 0, argMaxResample(1, 3, 1)(isNotNull(entry_on), _order, _bucket), maxResample(1, 3, 1)(_order, _bucket)), arrayFill((x, o) -> o != 0, argMaxResample(1, 3, 1)(assumeNotNull(entry_on), _order, _bucket), maxResample(1, 3, 1)(_order, _bucket))) AS x1
          FROM worker FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)})
          GROUP BY person
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
-- days_back = [-17116,-17105]
-- units = ['310000']
