SELECT d, unit, cat, n, m, source
FROM (
  SELECT d, unit, cat, toNullable(v) AS n, CAST(NULL, 'Nullable(Float64)') AS m, source
  FROM (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM employment))
    ) AS g
    LEFT JOIN (
      SELECT d, leftPad(toString(now), 6, '0') AS unit, '' AS cat, toFloat64(count()) AS v, count() AS source
      FROM (
        SELECT d, places[i[1]] AS now, places[i[2]] AS then
        FROM (
          SELECT person, spells.2 AS units, spells.3 AS begins, spells.4 AS ends, arrayMap(d -> arrayFirst((x, b, e) -> b <= d AND e > d, units, begins, ends), {stock_dates:Array(Date32)}) AS places
          FROM (
            SELECT reinterpretAsUInt128(substring(id_number_token, 17)) AS person, arraySort(groupArray((bitShiftLeft(toInt256(-toInt32(start_on)), 84) + bitShiftLeft(toInt256(toUInt32(toString(reporting_unit))), 64) + xxh3(record_id), toUInt32(toString(reporting_unit)), start_on, ifNull(end_on, toDate32('2299-12-31'))))) AS spells
            FROM employment FINAL
            WHERE worker_category IN {categories:Array(String)} AND start_on <= arrayMax({stock_dates:Array(Date32)}) AND ifNull(end_on > arrayMin({stock_dates:Array(Date32)}), true)
            GROUP BY person
          )
        )
        ARRAY JOIN {dates:Array(Date32)} AS d, {stock_at:Array(Array(UInt32))} AS i
        WHERE now != 0 AND then != 0 AND now != then
      )
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  )
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- categories = ['01','02','03']
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- stock_at = [[3,1],[4,2]]
-- stock_dates = ['2015-10-31','2015-11-30','2016-10-31','2016-11-11']
-- units = ['310000']
