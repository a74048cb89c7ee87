SELECT d, unit, cat, n, m, source
FROM (
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT a.d AS d, a.unit AS unit, a.cat AS cat, a.v - toFloat64(ifNull(b.c, 0)) AS v, a.source AS source
    FROM (
      SELECT {dates:Array(Date32)}[1] AS d, toString(unit) AS unit, '' AS cat, toFloat64(sum(received * transform(toString(feed), {due_feeds:Array(String)}, {due_values:Array(Float64)}, toFloat64(0)))) AS v, toUInt64(sum(received)) AS source
      FROM receipt_parts_effective WHERE feed IN {of_feeds:Array(String)}
      GROUP BY unit, cat
    ) AS a
    LEFT JOIN (
      SELECT toString(unit) AS unit, '' AS cat, sum(arrayCount(r -> toString(r) = {required_rule:String}, rules)) AS c
      FROM quarantine FINAL WHERE feed IN {of_feeds:Array(String)}
      GROUP BY unit, cat
    ) AS b ON a.unit = b.unit AND a.cat = b.cat
  ) AS t
  INNER JOIN (
    SELECT {dates:Array(Date32)}[1] AS d, toString(unit) AS unit, '' AS cat, toFloat64(sum(received * transform(toString(feed), {due_feeds:Array(String)}, {due_values:Array(Float64)}, toFloat64(0)))) AS v, toUInt64(sum(received)) AS source
    FROM receipt_parts_effective WHERE feed IN {of_feeds:Array(String)}
    GROUP BY unit, cat
  ) AS b ON t.d = b.d AND t.unit = b.unit
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- due_feeds = ['attendance','context','demo_site','employment','evaluation','id_change','org','pay_standard','policy_doc','post','project','qualification','station','training','worker']
-- due_values = [12,12,14,15,16,13,16,13,15,18,21,13,12,18,16]
-- of_feeds = ['attendance','context','demo_site','employment','evaluation','id_change','org','pay_standard','policy_doc','post','project','qualification','station','training','worker']
-- required_rule = required
-- units = ['310000']
