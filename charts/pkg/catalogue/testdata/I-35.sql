SELECT d, unit, cat, n, m, source
FROM (
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT {dates:Array(Date32)}[1] AS d, toString(unit) AS unit, '' AS cat, toFloat64(sum(received) - sum(arraySum(arrayFilter((n, r) -> has({rules:Array(String)}, toString(r)), mapValues(rules), mapKeys(rules))))) AS v, toUInt64(sum(received)) AS source
    FROM receipt_parts_effective WHERE feed IN {of_feeds:Array(String)}
    GROUP BY unit, cat
  ) AS t
  INNER JOIN (
    SELECT {dates:Array(Date32)}[1] AS d, toString(unit) AS unit, '' AS cat, toFloat64(sum(received)) AS v, toUInt64(sum(received)) AS source
    FROM receipt_parts_effective WHERE feed IN {of_feeds:Array(String)}
    GROUP BY unit, cat
  ) AS b ON t.d = b.d AND t.unit = b.unit
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- of_feeds = ['attendance','employment','qualification','worker']
-- rules = ['ric_length','ric_char','ric_birth_date','ric_checksum','ric_precision','ric_future','ric_legacy_age']
-- units = ['310000']
