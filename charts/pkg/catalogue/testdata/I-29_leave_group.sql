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
      SELECT d, unit, cat, uniqExact(person) AS v, uniqExact(person) AS source
      FROM (
        SELECT person, tupleElement(s, 1) AS unit, transform(tupleElement(s, 4), {values:Array(String)}, {values_as:Array(String)}, '') AS cat, tupleElement(s, 3) AS day
        FROM (
          SELECT reinterpretAsUInt128(substring(id_number_token, 17)) AS person, groupArray((toString(reporting_unit), start_on, ifNull(end_on, toDate32('2299-12-31')), toString(leave_reason))) AS spells
          FROM employment FINAL
          WHERE worker_category IN {categories:Array(String)} AND ifNull(end_on >= addDays(addMonths(arrayMin({dates:Array(Date32)}), -12), 1), true) AND xxh3(id_number_token) IN (SELECT xxh3(id_number_token) FROM employment FINAL WHERE ifNull(end_on >= addDays(addMonths(arrayMin({dates:Array(Date32)}), -12), 1) AND end_on <= arrayMax({dates:Array(Date32)}), false))
          GROUP BY person
        )
        ARRAY JOIN spells AS s
        WHERE tupleElement(s, 3) < toDate32('2299-12-31')
          AND NOT arrayExists(o -> tupleElement(o, 1) = tupleElement(s, 1) AND tupleElement(o, 2) <= tupleElement(s, 3) AND tupleElement(o, 3) > tupleElement(s, 3), spells)
      )
      ARRAY JOIN {dates:Array(Date32)} AS d
      WHERE day <= d AND day >= addDays(addMonths(d, -12), 1)
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS t
  INNER JOIN (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM employment))
    ) AS g
    LEFT JOIN (
      SELECT d, leftPad(toString(place), 6, '0') AS unit, '' AS cat, sum(n) / 13 AS v, toUInt64(sum(n)) AS source
      FROM (
        SELECT place, i, count() AS n
        FROM (
          SELECT person, spells.2 AS units, spells.3 AS begins, spells.4 AS ends, arrayMap(d -> arrayFirst((x, b, e) -> b <= d AND e > d, units, begins, ends), {stock_dates:Array(Date32)}) AS places
          FROM (
            SELECT reinterpretAsUInt128(substring(id_number_token, 17)) AS person, arraySort(groupArray((bitShiftLeft(toInt256(-toInt32(start_on)), 84) + bitShiftLeft(toInt256(toUInt32(toString(reporting_unit))), 64) + xxh3(record_id), toUInt32(toString(reporting_unit)), start_on, ifNull(end_on, toDate32('2299-12-31'))))) AS spells
            FROM employment FINAL
            WHERE worker_category IN {categories:Array(String)} AND start_on <= arrayMax({stock_dates:Array(Date32)}) AND ifNull(end_on > arrayMin({stock_dates:Array(Date32)}), true)
            GROUP BY person
          )
        )
        ARRAY JOIN places AS place, arrayEnumerate(places) AS i
        WHERE place != 0
        GROUP BY place, i
      )
      ARRAY JOIN {dates:Array(Date32)} AS d, {stock_at:Array(Array(UInt32))} AS wanted
      WHERE has(wanted, i)
      GROUP BY d, unit
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS b ON t.d = b.d AND t.unit = b.unit
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- categories = ['01','02','03']
-- codes = ['quit','other','moved']
-- dates = ['2016-10-31','2016-11-11']
-- stock_at = [[13,12,11,10,9,8,7,6,5,4,3,2,1],[14,13,12,11,10,9,8,7,6,5,4,3,2]]
-- stock_dates = ['2015-10-31','2015-11-30','2015-12-31','2016-01-31','2016-02-29','2016-03-31','2016-04-30','2016-05-31','2016-06-30','2016-07-31','2016-08-31','2016-09-30','2016-10-31','2016-11-11']
-- units = ['310000']
-- values = ['02','05','07','01','04','06','08','09','99','03']
-- values_as = ['quit','quit','quit','other','other','other','other','other','other','moved']
