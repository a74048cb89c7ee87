SELECT d, unit, cat, n, m, source
FROM (
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT {dates:Array(Date32)}[1] AS d, toString(unit) AS unit, toString(feed) AS cat, toFloat64(sum(received - rejected)) AS v, toUInt64(sum(received)) AS source
    FROM receipt_parts_effective
    GROUP BY unit, cat
  ) AS t
  INNER JOIN (
    SELECT {dates:Array(Date32)}[1] AS d, toString(unit) AS unit, toString(feed) AS cat, toFloat64(sum(received)) AS v, toUInt64(sum(received)) AS source
    FROM receipt_parts_effective
    GROUP BY unit, cat
  ) AS b ON t.d = b.d AND t.unit = b.unit AND t.cat = b.cat
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- codes = ['attendance','context','demo_site','employment','evaluation','id_change','org','pay_standard','policy_doc','post','project','qualification','station','training','worker']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
