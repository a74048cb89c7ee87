SELECT d, unit, cat, n, m, source
FROM (
  SELECT d, unit, cat, toNullable(v) AS n, CAST(NULL, 'Nullable(Float64)') AS m, source
  FROM (
    SELECT d, unit, cat, n AS v, source
    FROM (
      SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.n, 0)) AS n, toFloat64(ifNull(c.m, 0)) AS m, toUInt64(ifNull(c.source, 0)) AS source
      FROM (
        SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin({codes:Array(String)}) AS cat
        FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM employment))
      ) AS g
      LEFT JOIN (
        SELECT d, unit, code AS cat, ns_of AS n, ms_of AS m, heads_of AS source FROM (
          SELECT d, unit, cat AS code, sum(n) AS ns_of, sum(m) AS ms_of, sum(heads) AS heads_of
          FROM (
            SELECT p.unit AS unit, arrayResize(f1.v1, length({dates:Array(Date32)}), {none:String}) AS cats, p.here AS ns, p.here AS ms, p.here AS hs
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
            LEFT JOIN (
              SELECT person,
                arrayMap(x -> {values_as:Array(String)}[bitAnd(toUInt64(bitShiftRight(x, 0)), 65535) + 1], xs) AS v1
              FROM (
                SELECT reinterpretAsUInt128(substring(id_number_token, 17)) AS person,
                  arrayFill(x -> x != 0, maxResample(1, 3, 1)(bitShiftLeft(toUInt256(bitOr(bitShiftLeft(toUInt128(toInt32(effective_from) + 40000), 107), _version)), 16) + bitShiftLeft(toUInt256(transform(ifNull(toString(sex), ''), {values:Array(String)}, {values_at:Array(UInt16)}, toUInt16(0))), 0), transform(roundDown(-toInt32(effective_from), {days_back:Array(Int32)}), {days_back:Array(Int32)}, {days_at:Array(UInt32)}, toUInt32(0)))) AS xs
                FROM (
                SELECT _version, effective_from, id_number_token, reporting_unit, sex FROM worker FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
                UNION ALL
                SELECT _version, effective_from, id_number_token, reporting_unit, sex FROM worker FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(id_number_token) IN (
                SELECT DISTINCT xxh3(id_number_token) AS h FROM worker WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(id_number_token) IN (SELECT h FROM (SELECT xxh3(id_number_token) AS h FROM employment FINAL WHERE worker_category IN {categories:Array(String)} AND start_on <= arrayMax({dates:Array(Date32)}) AND ifNull(end_on > arrayMin({dates:Array(Date32)}), true)) WHERE h NOT IN (SELECT xxh3(id_number_token) FROM worker FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)})))
              )
              )
                GROUP BY person
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
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- categories = ['01','02','03']
-- codes = ['0','1','2','9']
-- dates = ['2016-10-31','2016-11-11']
-- days_at = [3,2,1]
-- days_back = [-1000000,-17116,-17105]
-- none = 0
-- units = ['310000']
-- values = ['0','1','2','9']
-- values_as = ['0','1','2','9']
-- values_at = [0,1,2,3]
