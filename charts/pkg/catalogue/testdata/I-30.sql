SELECT d, unit, cat, n, m, source
FROM (
  SELECT d, if(grouping(unit_of) = 1, '', unit_of) AS unit, '' AS cat, toNullable(quantileExactInclusive(0.5)(y)) AS n, CAST(NULL, 'Nullable(Float64)') AS m, count() AS source
  FROM (
    SELECT d, unit_of, y
    FROM (
      SELECT p.unit AS unit_of, p.here AS here, f1.v1 AS v
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
      ) AS p
      INNER JOIN (
        SELECT person,
          arrayMap((x, d) -> if(bitAnd(toUInt64(bitShiftRight(x, 0)), 4294967295) = 0, -1, dateDiff('day', addDays(toDate32(0), (toInt32(bitAnd(toUInt64(bitShiftRight(x, 0)), 4294967295)) - 100000)), d) / 365.25), xs, {dates:Array(Date32)}) AS v1
        FROM (
          SELECT reinterpretAsUInt128(substring(id_number_token, 17)) AS person,
            arrayFill(x -> x != 0, maxResample(1, 3, 1)(bitShiftLeft(toUInt256(bitOr(bitShiftLeft(toUInt128(toInt32(effective_from) + 40000), 107), _version)), 32) + bitShiftLeft(toUInt256(ifNull(toInt32(entry_on) + 100000, 0)), 0), transform(roundDown(-toInt32(effective_from), {days_back:Array(Int32)}), {days_back:Array(Int32)}, {days_at:Array(UInt32)}, toUInt32(0)))) AS xs
          FROM (
          SELECT _version, effective_from, entry_on, id_number_token, reporting_unit FROM worker FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
          UNION ALL
          SELECT _version, effective_from, entry_on, id_number_token, reporting_unit FROM worker FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(id_number_token) IN (
          SELECT DISTINCT xxh3(id_number_token) AS h FROM worker WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(id_number_token) IN (SELECT h FROM (SELECT xxh3(id_number_token) AS h FROM employment FINAL WHERE worker_category IN {categories:Array(String)} AND start_on <= arrayMax({dates:Array(Date32)}) AND ifNull(end_on > arrayMin({dates:Array(Date32)}), true)) WHERE h NOT IN (SELECT xxh3(id_number_token) FROM worker FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)})))
        )
        )
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
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- categories = ['01','02','03']
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- days_at = [3,2,1]
-- days_back = [-1000000,-17116,-17105]
-- units = ['310000']
