package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/edition"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/worklist"
)

const (
	queryList   = "list"
	queryEvents = "events"
)

// mostRows bounds a list: it is read by people.
const mostRows = 500

// List is a list of records that a panel may ask for by name. It holds contracts,
// sites, sessions and what became of batches, never persons.
type List struct {
	ID string `json:"id"`
	catalogue.Text
	// About says in a sentence what is in it.
	About catalogue.Text `json:"about"`

	// columns give name, title and unit; the kinds follow from the statement.
	columns []listColumn
	// sql selects the columns in their order; the parameters are units, today,
	// horizon (90 days later), year and now.
	sql string
	// made makes the rows without a statement of its own.
	made func(*Datasource, *arrivals) [][]any
	// from makes the rows out of those of the statement, which then bounds them itself.
	from func([][]any) [][]any
	// live is the channel of a list that is told as it happens.
	live *channel
}

type listColumn struct {
	name   string
	zh, en string
	unit   string
	// list is the code list or dimension by which codes become names.
	list string
	// width is what its texts take, in pixels; 0 shares what is left.
	width int
	// text names codes that no list holds.
	text func(code string) catalogue.Text
}

// inDays is a number of whole days.
const inDays = "days"

var unitColumns = []listColumn{{name: "unit", zh: "单位代码", en: "unit code"}, {name: "unit_name", zh: "报送单位", en: "reporting unit"}}

func with(more ...listColumn) []listColumn { return append(slices.Clone(unitColumns), more...) }

// lists are all lists there are.
var lists = []List{
	{
		ID: "contracts_ending", Text: catalogue.Text{Zh: "90 天内到期的购买项目", En: "projects that end within 90 days"},
		About:   catalogue.Text{Zh: "终止日期在统计日之后 90 天以内的购买项目合同，最早到期的在前。", En: "Project contracts whose last day lies within 90 days of today, the earliest first."},
		columns: with(listColumn{name: "project", zh: "项目", en: "project"}, listColumn{name: "amount", zh: "合同金额", en: "amount", unit: yuan}, listColumn{name: "fund_source", zh: "资金来源", en: "source of funds", list: "fund_source"}, listColumn{name: "procurement_method", zh: "采购方式", en: "procurement", list: "procurement_method"}, listColumn{name: "end_on", zh: "到期日", en: "ends on"}, listColumn{name: "days", zh: "剩余", en: "left", unit: inDays}),
		sql:     "SELECT toString(reporting_unit), any(project_name), toFloat64(any(amount_fen)) / 100, toString(any(fund_source)), toString(any(procurement_method)), toString(any(end_on)) AS e, toFloat64(dateDiff('day', {today:Date32}, any(end_on))) FROM project FINAL WHERE reporting_unit IN {units:Array(String)} AND end_on >= {today:Date32} AND end_on <= {horizon:Date32} AND start_on <= {today:Date32} GROUP BY reporting_unit, purchaser_uscc, project_id ORDER BY e, reporting_unit",
	},
	{
		ID: "project_funds", Text: catalogue.Text{Zh: "购买项目金额：按资金来源", En: "project amounts by source of funds"},
		About:   catalogue.Text{Zh: "本预算年度购买项目的合同金额与合同数，按资金来源。", En: "Amounts and number of this budget year's project contracts by source of funds."},
		columns: []listColumn{{name: "fund_source", zh: "资金来源", en: "source of funds", list: "fund_source"}, {name: "amount", zh: "合同金额", en: "amount", unit: yuan}, {name: "contracts", zh: "合同数", en: "contracts"}},
		sql:     projectsBy("fund_source"),
	},
	{
		ID: "project_methods", Text: catalogue.Text{Zh: "购买项目金额：按采购方式", En: "project amounts by procurement method"},
		About:   catalogue.Text{Zh: "本预算年度购买项目的合同金额与合同数，按采购方式。", En: "Amounts and number of this budget year's project contracts by procurement method."},
		columns: []listColumn{{name: "procurement_method", zh: "采购方式", en: "procurement", list: "procurement_method"}, {name: "amount", zh: "合同金额", en: "amount", unit: yuan}, {name: "contracts", zh: "合同数", en: "contracts"}},
		sql:     projectsBy("procurement_method"),
	},
	{
		ID: "sessions", Text: catalogue.Text{Zh: "本年培训班次", En: "training sessions of the year"},
		About:   catalogue.Text{Zh: "统计日所在年度已报送的培训班次，最近的在前。", En: "Sessions reported for the year of today, the latest first."},
		columns: with(listColumn{name: "tier", zh: "培训层级", en: "tier", list: "training_tier"}, listColumn{name: "kind", zh: "培训类别", en: "kind", list: "training_kind"}, listColumn{name: "start_on", zh: "开始", en: "begins"}, listColumn{name: "end_on", zh: "结束", en: "ends"}, listColumn{name: "hours", zh: "学时", en: "hours"}),
		sql:     "SELECT toString(reporting_unit), toString(tier), toString(kind), toString(start_on), toString(end_on), toFloat64(hours) FROM training FINAL WHERE reporting_unit IN {units:Array(String)} AND start_on >= {year:Date32} AND start_on <= {today:Date32} ORDER BY start_on DESC, reporting_unit",
	},
	{
		ID: "sites", Text: catalogue.Text{Zh: "示范点名单", En: "demonstration sites"},
		About:   catalogue.Text{Zh: "各示范点的最近状态与复核日期；从未复核的按命名先后排在前面，其余按复核先后。", En: "The latest state and review of each site; those never reviewed come first, the longest named at the top, then those whose review is oldest."},
		columns: with(listColumn{name: "site", zh: "示范点", en: "site"}, listColumn{name: "level", zh: "层级", en: "level", list: "demo_level"}, listColumn{name: "status", zh: "状态", en: "status", list: "demo_status"}, listColumn{name: "named_on", zh: "命名", en: "named"}, listColumn{name: "reviewed_on", zh: "最近复核", en: "last review"}),
		sql:     "SELECT toString(u), s, toString(l), toString(st), ifNull(toString(n), ''), ifNull(toString(r), '') FROM (SELECT reporting_unit AS u, argMax((site_name, level, status, named_on, reviewed_on), effective_from) AS t, tupleElement(t, 1) AS s, tupleElement(t, 2) AS l, tupleElement(t, 3) AS st, tupleElement(t, 4) AS n, tupleElement(t, 5) AS r FROM demo_site FINAL WHERE reporting_unit IN {units:Array(String)} AND effective_from <= {today:Date32} GROUP BY reporting_unit, site_id) ORDER BY r ASC NULLS FIRST, n ASC NULLS LAST, u",
	},
	{
		ID: "late", Text: catalogue.Text{Zh: "应报未到", En: "due and not there"},
		About:   catalogue.Text{Zh: "最近一个到期月份尚未到达的单位与数据类别。", En: "Units and feeds whose last month due has not arrived."},
		columns: with(listColumn{name: "feed", zh: "数据类别", en: "feed", list: "feed"}, listColumn{name: "expected", zh: "应有月份", en: "month due"}, listColumn{name: "last", zh: "最近月份", en: "last month", text: orNever}),
		made:    (*Datasource).lateRows,
	},
	{
		ID: "arrivals", Text: catalogue.Text{Zh: "各单位各类数据的最近到达", En: "latest arrivals by unit and feed"},
		About:   catalogue.Text{Zh: "每个单位每类数据最近一期、最近报送时间、入库时间与行数。", En: "Of each unit and feed: last period, last report, when it was stored, rows."},
		columns: with(listColumn{name: "feed", zh: "数据类别", en: "feed", list: "feed"}, listColumn{name: "period", zh: "最近一期", en: "last period"}, listColumn{name: "reported", zh: "最近报送", en: "last reported"}, listColumn{name: "arrived", zh: "最近入库", en: "last stored"}, listColumn{name: "rows", zh: "行数", en: "rows"}),
		made:    (*Datasource).arrivalRows,
	},
	{
		ID: "publications", Text: catalogue.Text{Zh: "已公布的月份", En: "published months"},
		About:   catalogue.Text{Zh: "每个月份的各版：由谁、何时、因何公布、批准或重开，以及公布时缺报的单位。", En: "The editions of each month: who published, approved or reopened it, when and why, and the units whose reports were missing then."},
		columns: []listColumn{{name: "month", zh: "月份", en: "month"}, {name: "edition", zh: "版", en: "edition", width: 70}, {name: "publication", zh: "状态", en: "state", width: 170}, {name: "at", zh: "时间", en: "when", width: 145}, {name: "who", zh: "经办", en: "by"}, {name: "reason", zh: "理由", en: "reason"}, {name: "late", zh: "缺报单位", en: "units missing"}, {name: "figures", zh: "数据个数", en: "figures"}},
		sql:     "SELECT formatDateTime(month, '%Y-%m'), toFloat64(edition), toString(state), formatDateTime(at, '%F %H:%i', 'Asia/Shanghai'), who, reason, toFloat64(max(length(arrayDistinct(arrayFilter(u -> u IN {units:Array(String)}, missing_unit)))) OVER w), toFloat64(max(figures) OVER w) FROM publications WINDOW w AS (PARTITION BY month, edition) ORDER BY month DESC, edition DESC, at DESC",
	},
	{
		ID: "balance", Text: catalogue.Text{Zh: "收支平衡：每条记录的去向", En: "balance: what became of every record"},
		About:   catalogue.Text{Zh: "收到 = 入库 + 重复 + 拒收；不平衡的一列必须为零。", En: "received = stored + duplicate + rejected; the last column must be zero."},
		columns: with(listColumn{name: "received", zh: "收到", en: "received"}, listColumn{name: "stored", zh: "入库", en: "stored"}, listColumn{name: "duplicate", zh: "重复", en: "duplicate"}, listColumn{name: "rejected", zh: "拒收", en: "rejected"}, listColumn{name: "reject_share", zh: "拒收率", en: "rejected share", unit: "percent"}, listColumn{name: "unexplained", zh: "不平衡", en: "unexplained"}),
		sql:     "SELECT toString(unit), toFloat64(sum(received)) AS r, toFloat64(sum(received) - sum(duplicate) - sum(rejected)), toFloat64(sum(duplicate)), toFloat64(sum(rejected)) AS x, x / greatest(r, 1) * 100 AS share, toFloat64(sum(unexplained)) FROM balance WHERE unit IN {units:Array(String)} GROUP BY unit ORDER BY share DESC, unit",
	},
	{
		ID: "rules", Text: catalogue.Text{Zh: "拒收最多的规则", En: "rules that reject most"},
		About:   catalogue.Text{Zh: "被拒收的记录按首条规则计数。", En: "Rejected records by the first rule that each broke."},
		columns: []listColumn{{name: "rule_name", zh: "原因", en: "reason", width: 340}, {name: "rule", zh: "规则代码", en: "rule id"}, {name: "rejected", zh: "拒收记录", en: "rejected records"}, {name: "units", zh: "涉及单位", en: "units"}},
		sql:     "SELECT rule, toFloat64(sum(n)) AS s, toFloat64(uniqExact(unit)) FROM (SELECT unit, toString(tupleElement(kv, 1)) AS rule, tupleElement(kv, 2) AS n FROM (SELECT toString(unit) AS unit, arrayJoin(rules) AS kv FROM receipt_parts_effective WHERE unit IN {units:Array(String)})) GROUP BY rule ORDER BY s DESC, rule",
	},
	{
		ID: "partitions", Text: catalogue.Text{Zh: "各通道的写入位置", En: "where each topic stands"},
		About:   catalogue.Text{Zh: "台账中每个分区写到的位移、累计消息与最近写入时间。", En: "From the ledger: of each partition the next offset, the cuts, and when it was last written."},
		columns: []listColumn{{name: "topic", zh: "通道", en: "topic", width: 150}, {name: "partition", zh: "分区", en: "partition"}, {name: "next", zh: "下一位移", en: "next offset"}, {name: "cuts", zh: "切片数", en: "cuts"}, {name: "arrived", zh: "最近写入", en: "last written", width: 165}, {name: "age", zh: "距今", en: "age", unit: age}},
		sql:     "SELECT toString(topic), toFloat64(partition), toFloat64(max(last_offset) + 1), toFloat64(count()), formatDateTime(max(arrived_at), '%F %T', 'Asia/Shanghai'), toFloat64(dateDiff('second', max(arrived_at), {now:DateTime64(3, 'UTC')})) AS age FROM ledger_effective WHERE arrayElement(splitByChar('.', toString(topic)), -1) IN {units:Array(String)} GROUP BY topic, incarnation, partition ORDER BY age DESC, topic, partition",
	},
	{
		ID: "last_day", Text: catalogue.Text{Zh: "最近 24 小时收到的记录", En: "records received in the last 24 hours"},
		About:   catalogue.Text{Zh: "各报送单位最近 24 小时收到的记录数，没有收到的为零。", En: "Of each reporting unit the records received in the last 24 hours; zero where none came."},
		columns: with(listColumn{name: "rows", zh: "收到记录", en: "records"}),
		sql:     "SELECT u, toFloat64(sum(n)) AS s FROM (SELECT splitByChar('.', toString(topic))[-1] AS u, received AS n FROM ledger_effective WHERE arrived_at >= {now:DateTime64(3, 'UTC')} - INTERVAL 1 DAY UNION ALL SELECT arrayJoin({units:Array(String)}), 0) WHERE u IN {units:Array(String)} GROUP BY u ORDER BY s DESC, u",
	},
	{
		ID: "rate", Text: catalogue.Text{Zh: "入库速度：各单位（实时）", En: "records stored a minute, by unit (live)"}, live: &channel{liveRate, liveUnits},
		About: catalogue.Text{Zh: "每分钟收到的记录数，每 10 秒更新一次。", En: "Records received a minute, told anew every 10 seconds."},
	},
	{
		ID: "rate_nation", Text: catalogue.Text{Zh: "入库速度：全国（实时）", En: "records stored a minute, nation (live)"}, live: &channel{liveRate, liveNation},
		About: catalogue.Text{Zh: "全国每分钟收到的记录数，每 10 秒更新一次。", En: "Records received a minute in all, told anew every 10 seconds."},
	},
	{
		ID: "age", Text: catalogue.Text{Zh: "最新记录距今：各单位（实时）", En: "age of the newest record, by unit (live)"}, live: &channel{liveAge, liveUnits},
		About: catalogue.Text{Zh: "各单位最新一条记录入库至今的秒数，每 10 秒更新一次。", En: "Seconds since each unit's newest record was stored, told anew every 10 seconds."},
	},
	{
		ID: "age_nation", Text: catalogue.Text{Zh: "最新记录距今：全国（实时）", En: "age of the newest record, nation (live)"}, live: &channel{liveAge, liveNation},
		About: catalogue.Text{Zh: "全国最新一条记录入库至今的秒数，每 10 秒更新一次。", En: "Seconds since the newest record of all was stored, told anew every 10 seconds."},
	},
	worklistCounts(), worklistCases,
}

func projectsBy(field string) string {
	return "SELECT toString(c), toFloat64(sum(a)) / 100 AS s, toFloat64(count()) FROM (SELECT any(" + field + ") AS c, any(amount_fen) AS a FROM project FINAL WHERE reporting_unit IN {units:Array(String)} AND budget_year = toYear({today:Date32}) AND start_on <= {today:Date32} GROUP BY purchaser_uscc, project_id) GROUP BY c ORDER BY s DESC"
}

// other reads a query that asks for no indicator.
func (d *Datasource) other(q backend.DataQuery) (*Model, error) {
	m := &Model{}
	dec := json.NewDecoder(bytes.NewReader(q.JSON))
	dec.DisallowUnknownFields()
	if err := dec.Decode(m); err != nil {
		*m = Model{}
		if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); !ok || json.Unmarshal(q.JSON, m) != nil {
			return nil, badQuery("cannot read the query: it is not the JSON of this datasource")
		} else if m.RefID == "" {
			return nil, badQuery("unknown key %s", name)
		}
	}
	for _, u := range m.Filter.Units {
		if info := d.catalogue.Contract.Unit(u); info == nil || !info.Reports {
			return nil, badQuery("%q is no reporting unit", u)
		}
	}
	switch m.QueryType {
	case queryList:
		if listOf(m.List) == nil {
			return nil, badQuery("there is no list %q", m.List)
		}
		if m.Format != "" && (m.Format != formatTiles || m.List != "last_day") {
			return nil, badQuery("the list %q has no form %q", m.List, m.Format)
		}
	case queryEvents:
		if m.Events != eventPolicies && m.Events != eventIncidents {
			return nil, badQuery("there are no events %q; use policies, incidents", m.Events)
		}
	}
	return m, nil
}

// unitsOf are the units that a query names, or all that may be seen.
func (d *Datasource) unitsOf(s scope.Scope, m *Model) []string {
	if len(m.Filter.Units) > 0 {
		return m.Filter.Units
	}
	out := []string{scope.Office}
	for _, u := range d.units(d.Today()) {
		out = append(out, u.Code)
	}
	return s.Of(out)
}

// listOf is the list of an id, nil when there is none.
func listOf(id string) *List {
	if i := slices.IndexFunc(lists, func(l List) bool { return l.ID == id }); i >= 0 {
		return &lists[i]
	}
	return nil
}

var noTables = catalogue.Text{Zh: "流水线的表尚未建立，先运行 duiwu migrate", En: "the pipeline's tables are not there yet; run duiwu migrate first"}

// list answers a list of records. One whose tables the pipeline has not made is
// empty and says so.
func (d *Datasource) list(ctx context.Context, s scope.Scope, m *Model) (data.Frames, error) {
	l := listOf(m.List)
	if l.live != nil {
		return d.live(ctx, s, l, m)
	}
	var rows [][]any
	var notice string
	sql, stale := "", false
	if l.made != nil {
		a, err := d.arrivals(ctx, s, time.Time{})
		if err != nil {
			return nil, err
		}
		for _, r := range l.made(d, a.narrow(s)) {
			if unit := r[0].(string); s.Sees(unit) && (len(m.Filter.Units) == 0 || slices.Contains(m.Filter.Units, unit)) {
				rows = append(rows, r)
			}
		}
	} else {
		today := d.Today()
		params := map[string]string{"today": today.Format(time.DateOnly), "now": d.now().UTC().Format("2006-01-02 15:04:05.000"), "horizon": today.AddDate(0, 0, 90).Format(time.DateOnly), "year": time.Date(today.Year(), 1, 1, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)}
		if sql = l.sql; l.from == nil {
			sql += fmt.Sprintf(" LIMIT %d", mostRows+1)
		}
		var err error
		state := "" // nothing is kept of what is asked each time
		switch {
		case strings.Contains(sql, openCases):
			if sql, err = d.withCases(ctx, s, sql, params); err != nil {
				return nil, err
			}
			state, stale = d.cases.current(ctx, d)
		case !ofThisMoment(sql):
			state = d.state.current(ctx, d)
		}
		if rows, err = d.listRows(ctx, s, d.unitsOf(s, m), state, sql, params); err != nil {
			if codeOf(err) != codeUnknownTable {
				return nil, fmt.Errorf("cannot read the list %s: %w", l.ID, err)
			}
			rows, notice = nil, pick(m.Lang, noTables)
		}
		if l.from != nil {
			rows = l.from(rows)
		}
		sql += comment(worklist.Masked(params))
	}
	if m.Format == formatTiles {
		f := d.tilesOfList(l, rows, m.Lang)
		f.Meta.ExecutedQueryString = sql
		if notice != "" {
			f.AppendNotices(data.Notice{Severity: data.NoticeSeverityWarning, Text: notice})
		}
		return data.Frames{f}, nil
	}
	f := data.NewFrame(l.ID)
	f.Meta = &data.FrameMeta{Type: data.FrameTypeTable, TypeVersion: data.FrameTypeVersion{0, 1}, ExecutedQueryString: sql}
	if notice != "" {
		f.AppendNotices(data.Notice{Severity: data.NoticeSeverityWarning, Text: notice})
	}
	if len(rows) > mostRows {
		rows = rows[:mostRows]
		f.AppendNotices(data.Notice{Severity: data.NoticeSeverityWarning, Text: fmt.Sprintf(pick(m.Lang, catalogue.Text{Zh: "只显示前 %d 行", En: "only the first %d rows are shown"}), mostRows)})
	}
	if stale {
		f.AppendNotices(staleNotice(m.Lang))
	}
	d.fill(f, l, rows, m.Lang)
	inTenThousands(m.Lang, f, false)
	return data.Frames{f}, nil
}

// ofThisMoment says that a list is another one each time.
func ofThisMoment(sql string) bool { return strings.Contains(sql, "{now:") }

// listRows asks the statement of a list, or shows again what it gave while the
// tables are in one state. What is asked of this very moment is asked each time.
func (d *Datasource) listRows(ctx context.Context, s scope.Scope, units []string, state, sql string, params map[string]string) ([][]any, error) {
	if ofThisMoment(sql) {
		return d.readList(ctx, s, units, sql, params)
	}
	params = maps.Clone(params)
	delete(params, "now")
	return d.listed.get(ctx, s.String()+"\n"+strings.Join(units, ",")+"\n"+sql+comment(params), state, func(ctx context.Context) ([][]any, error) {
		return d.readList(ctx, s, units, sql, params)
	})
}

func (d *Datasource) readList(ctx context.Context, s scope.Scope, units []string, sql string, params map[string]string) ([][]any, error) {
	rows, err := d.db.Rows(ctx, s, units, sql, params)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var out [][]any
	types := rows.ColumnTypes()
	for rows.Next() {
		to := make([]any, len(types))
		for i, t := range types {
			if t.DatabaseTypeName() == "Float64" {
				to[i] = new(float64)
			} else {
				to[i] = new(string)
			}
		}
		if err := rows.Scan(to...); err != nil {
			return nil, err
		}
		row := make([]any, len(to))
		for i, v := range to {
			switch v := v.(type) {
			case *float64:
				row[i] = *v
			case *string:
				row[i] = *v
			}
		}
		out = append(out, row)
	}
	return out, rows.Err()
}

// fill writes rows under the columns, codes by their names.
func (d *Datasource) fill(f *data.Frame, l *List, rows [][]any, lang string) {
	at := 0
	for _, c := range l.columns {
		cell := func(i int) any { return rows[i][at] }
		step := true
		switch c.name {
		case "unit_name":
			at--
			cell = func(i int) any { return d.unitName(rows[i][at].(string), lang) }
		case "rule_name":
			step = false // the id follows
			cell = func(i int) any { return ruleName(rows[i][at].(string), lang) }
		case "publication":
			cell = func(i int) any { return pick(lang, publicationStates[edition.State(rows[i][at].(string))]) }
		default:
			if c.text != nil {
				cell = func(i int) any { return pick(lang, c.text(rows[i][at].(string))) }
			} else if c.list != "" {
				cell = func(i int) any { return pick(lang, d.label(c.list, rows[i][at].(string))) }
			}
		}
		var x *data.Field
		if len(rows) > 0 {
			if _, ok := cell(0).(float64); ok {
				v := make([]float64, len(rows))
				for i := range rows {
					v[i] = cell(i).(float64)
				}
				x = data.NewField(c.name, nil, v)
			}
		}
		if x == nil {
			v := make([]string, len(rows))
			for i := range rows {
				v[i] = cell(i).(string)
			}
			x = data.NewField(c.name, nil, v)
		}
		x.Config = &data.FieldConfig{DisplayNameFromDS: pick(lang, catalogue.Text{Zh: c.zh, En: c.en}), Unit: c.unit}
		if c.unit == inDays {
			x.Config.Unit = suffix(lang, dayUnit)
		}
		if c.width > 0 {
			x.Config.Custom = map[string]any{"width": c.width}
		}
		f.Fields = append(f.Fields, x)
		if step {
			at++
		}
	}
}

func (d *Datasource) unitName(code, lang string) string {
	u := d.catalogue.Contract.Unit(code)
	if u == nil {
		return code
	}
	return pick(lang, catalogue.Text{Zh: u.ShortZh, En: u.ShortEn()})
}

func ruleName(id, lang string) string {
	for _, r := range feed.Rules() {
		if r.String() == id {
			// The list adds up all fields that broke the rule.
			s := pick(lang, catalogue.Text{Zh: r.Info().Zh, En: r.Info().En})
			return strings.NewReplacer("字段“{field}”", "字段", "“{field}”", "该字段", "Field {field}", "The field", "{field}", "the field").Replace(s)
		}
	}
	return id
}

// orNever names the month of what never came.
func orNever(month string) catalogue.Text {
	if month == "" {
		return catalogue.Text{Zh: "从未", En: "never"}
	}
	return catalogue.Text{Zh: month, En: month}
}

func (d *Datasource) lateRows(a *arrivals) [][]any {
	var owed []string
	for _, s := range d.catalogue.Contract.Feeds {
		if s.Owed {
			owed = append(owed, s.Feed)
		}
	}
	var out [][]any
	for _, m := range d.missing(a, owed) {
		out = append(out, []any{m.Unit, m.Feed, m.Expected, m.Last})
	}
	return out
}

func (d *Datasource) arrivalRows(a *arrivals) [][]any {
	var out [][]any
	for _, s := range d.catalogue.Contract.Feeds {
		for unit, v := range a.feeds[s.Feed] {
			out = append(out, []any{unit, s.Feed, v.period.Format("2006-01"), clock(v.reported), clock(v.arrived), float64(v.rows)})
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i][3] != out[j][3] { // reported: what is loaded at once has one time of arrival
			return out[i][3].(string) < out[j][3].(string)
		}
		return out[i][0].(string)+out[i][1].(string) < out[j][0].(string)+out[j][1].(string)
	})
	return out
}

func clock(t time.Time) string { return t.In(feed.Shanghai).Format("2006-01-02 15:04") }
