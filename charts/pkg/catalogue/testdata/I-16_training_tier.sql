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
          SELECT person, tier, groupArray(day) AS days
          FROM (
            SELECT reinterpretAsUInt128(substring(id_number_token, 17)) AS person, effective_from AS day, reporting_unit AS unit, session_id AS session
            FROM attendance FINAL
            WHERE ifNull(passed, false) AND xxh3(reporting_unit, record_id) NOT IN (
              SELECT arrayJoin(arrayPopFront(arrayMap(x -> x.2, arrayReverseSort(groupArray((toUInt256(_version), xxh3(reporting_unit, record_id))))))) AS h
              FROM attendance FINAL
              WHERE (reporting_unit, record_id) IN (SELECT reporting_unit, record_id FROM attendance WHERE xxh3(reporting_unit, session_id, id_number_token) IN (
                SELECT arrayJoin(arrayFilter((h, before) -> h = before, hs, arrayPushFront(arrayPopBack(hs), 0))) AS h
                FROM (SELECT arraySort(groupArray(xxh3(reporting_unit, session_id, id_number_token))) AS hs FROM attendance GROUP BY xxh3(reporting_unit, session_id, id_number_token) % 16)
              ))
              GROUP BY reporting_unit, session_id, id_number_token
            )
          ) AS n
          INNER JOIN (SELECT reporting_unit, session_id, toString(argMax(tier, _version)) AS tier FROM training FINAL GROUP BY reporting_unit, session_id) AS t ON n.unit = t.reporting_unit AND n.session = t.session_id
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
      SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.n, 0)) AS n, toFloat64(ifNull(c.m, 0)) AS m, toUInt64(ifNull(c.source, 0)) AS source
      FROM (
        SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
        FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM employment))
      ) AS g
      LEFT JOIN (
        SELECT d, unit, cat, n, m, heads AS source
        FROM (
          SELECT p.unit AS unit, '' AS cat, sumForEach(p.here) AS ns, sumForEach(p.here) AS ms, sumForEach(p.here) AS hs
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
          GROUP BY unit, cat
        )
        ARRAY JOIN {dates:Array(Date32)} AS d, ns AS n, ms AS m, hs AS heads
      ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
    )
  ) AS b ON t.d = b.d AND t.unit = b.unit
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- categories = ['01','02','03']
-- codes = ['1','2','3','4']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
