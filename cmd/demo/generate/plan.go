package generate

import (
	_ "embed"
	"fmt"
	"sort"
	"strings"
)

//go:embed counties.txt
var countyTable string

// The public figures that a full world adds up to (November 2016).
const (
	fullWorkers = 29_000
	fullOrgs    = 712
	fullUsers   = 2_505_000
	fullRecords = 150_000 // from here on the world is full; below it shrinks in proportion
)

// mode is how a unit buys service.
type mode uint8

const (
	modeLittle mode = iota
	modeProject
	modePost
	modeMixed
)

// plan is one reporting unit of the invented world: relative weights, not facts,
// but for population (census of 2020; the Corps' share is taken out of
// Xinjiang's).
type plan struct {
	code, short string
	workers     int // weight
	users       int // weight
	population  int64
	mode        mode
	cert, train int // per cent
	form        form
	late        bool // November has not come by Today
}

var plans = []plan{
	{"110000", "北京", 950, 30, 21893095, modeMixed, 43, 66, formJSON, false},
	{"120000", "天津", 420, 20, 13866009, modeMixed, 38, 58, formJSON, false},
	{"130000", "河北", 600, 45, 74610235, modeLittle, 32, 44, formJSON, false},
	{"140000", "山西", 420, 55, 34915616, modeLittle, 31, 42, formJSON, false},
	{"150000", "内蒙古", 330, 45, 24049155, modeLittle, 31, 40, formJSON, false},
	{"210000", "辽宁", 650, 75, 42591407, modeLittle, 35, 50, formJSON, false},
	{"220000", "吉林", 380, 50, 24073453, modeLittle, 34, 45, formJSON, false},
	{"230000", "黑龙江", 520, 60, 31850088, modeLittle, 33, 43, formJSON, false},
	{"310000", "上海", 1900, 60, 24870895, modeProject, 45, 82, formJSON, false},
	{"320000", "江苏", 2900, 110, 84748016, modeProject, 44, 76, formJSON, false},
	{"330000", "浙江", 2700, 130, 64567588, modeProject, 44, 78, formJSON, false},
	{"340000", "安徽", 800, 70, 61027171, modeMixed, 34, 52, formArray, false},
	{"350000", "福建", 950, 60, 41540086, modeMixed, 37, 58, formJSON, false},
	{"360000", "江西", 620, 65, 45188635, modeLittle, 33, 47, formGB, false},
	{"370000", "山东", 1150, 50, 101527453, modeMixed, 38, 60, formArrow, false},
	{"410000", "河南", 1050, 80, 99365519, modeLittle, 33, 48, formArray, false},
	{"420000", "湖北", 1750, 130, 57752557, modePost, 38, 64, formJSON, false},
	{"430000", "湖南", 1200, 190, 66444864, modeMixed, 35, 55, formArrow, false},
	{"440000", "广东", 3300, 420, 126012510, modeProject, 42, 74, formJSON, false},
	{"450000", "广西", 1050, 140, 50126804, modeMixed, 34, 51, formJSON, false},
	{"460000", "海南", 420, 40, 10081232, modeMixed, 35, 56, formJSON, false},
	{"500000", "重庆", 1000, 110, 32054159, modeMixed, 39, 62, formJSON, false},
	{"510000", "四川", 1300, 200, 83674866, modeMixed, 36, 57, formJSON, false},
	{"520000", "贵州", 1500, 180, 38562148, modePost, 33, 61, formJSON, false},
	{"530000", "云南", 1150, 210, 47209277, modeMixed, 31, 49, formCSV, false},
	{"540000", "西藏", 30, 2, 3648100, modeLittle, 30, 35, formJSON, true},
	{"610000", "陕西", 600, 80, 39528999, modeLittle, 34, 48, formJSON, false},
	{"620000", "甘肃", 300, 50, 25019831, modeLittle, 30, 38, formJSON, false},
	{"630000", "青海", 75, 10, 5923957, modeLittle, 30, 36, formJSON, true},
	{"640000", "宁夏", 330, 25, 7202654, modePost, 35, 59, formJSON, false},
	{"650000", "新疆", 260, 90, 22602345, modeLittle, 30, 37, formJSON, false},
	{"660000", "兵团", 90, 12, 3250000, modeLittle, 32, 46, formJSON, false},
}

const nationalOffice = "000000"

// unit is a plan filled with numbers.
type unit struct {
	plan
	index              int
	topic              string
	area               string // the two digits that identity numbers begin with
	open, left, others int    // persons with a spell open at the end; leavers of the year; part-time and volunteers
	counties           []string
	retired            []string
	townships          []int
	users, population  []int64 // by county, at the end of the year
	orgs               []org
	stay               int // orgs[:stay] are active all year
	township           []string
	buyers             []string
	posts              int
	cat1, cat3         int // of 100 persons: how many of category 01, of 03; the rest is 02
}

// org is a social organisation.
type org struct {
	uscc, name, brand, typ string
	county                 int
	founded, closed        int32 // closed 0: open
	suspended              bool
	workers                [months]int32
}

// apportion splits total by weights, largest remainders first.
func apportion(total int64, weights []int64) []int64 {
	var sum int64
	for _, w := range weights {
		sum += w
	}
	out := make([]int64, len(weights))
	order := make([]int, len(weights))
	rest := total
	for i, w := range weights {
		out[i] = total * w / sum
		rest -= out[i]
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool {
		return total*weights[order[a]]%sum > total*weights[order[b]]%sum
	})
	for i := 0; rest > 0; i++ {
		out[order[i%len(order)]]++
		rest--
	}
	return out
}

// build makes the world's units: everything whose size does not depend on the
// number of records.
func (g *Generator) build() {
	table := map[string][2][]string{}
	for line := range strings.Lines(countyTable) {
		if line[0] == '#' {
			continue
		}
		now, old, _ := strings.Cut(strings.TrimSpace(line), "|")
		f := strings.Fields(now)
		table[f[0]] = [2][]string{f[1:], strings.Fields(old)}
	}
	ww, uw, ow := make([]int64, len(plans)), make([]int64, len(plans)), make([]int64, len(plans))
	for i, p := range plans {
		ww[i], uw[i] = int64(p.workers), int64(p.users)
		ow[i] = int64(p.workers) + 150
	}
	scaled := func(n int64) int64 { return int64(float64(n)*g.scale + 0.5) }
	workers := apportion(scaled(fullWorkers), ww)
	users := apportion(scaled(fullUsers), uw)
	norg := apportion(max(scaled(fullOrgs), int64(len(plans)))-int64(len(plans)), ow) // one each, the rest by weight
	serial := 0
	for i := range plans {
		u := &unit{plan: plans[i], index: i, topic: "duiwu.feed." + plans[i].code, area: plans[i].code[:2]}
		if u.code == "660000" {
			u.area = "65"
		}
		u.open = int(workers[i])
		u.left = (u.open*13 + 50) / 100
		u.others = (u.open*5 + 50) / 100
		switch u.mode {
		case modeProject:
			u.cat1, u.cat3 = 65, 8
		case modePost:
			u.cat1, u.cat3 = 20, 50
		case modeMixed:
			u.cat1, u.cat3 = 40, 15
		default:
			u.cat1, u.cat3 = 25, 4
		}
		u.posts = u.open*u.cat3/100 + u.open*u.cat3/1200 + 1
		t := table[u.code]
		n := min(len(t[0]), max(2, int(float64(len(t[0]))*g.scale+0.5)))
		u.counties, u.retired = t[0][:n], t[1]
		weights := make([]int64, n)
		for c := range weights {
			weights[c] = 60 + int64(g.h(saltCounty, i, c)%80)
			u.townships = append(u.townships, 6+int(g.h(saltCounty, i, c+1000)%20))
		}
		u.users = apportion(users[i], weights)
		for c := range weights {
			weights[c] = 60 + int64(g.h(saltCounty, i, c+2000)%80)
		}
		u.population = apportion(scaled(u.plan.population), weights)
		for range 3 {
			serial++
			u.buyers = append(u.buyers, creditCode("11", u.area, "MB", serial))
		}
		for range u.counties {
			serial++
			u.township = append(u.township, creditCode("11", u.area, "MC", serial))
		}
		g.buildOrgs(u, 1+int(norg[i]), &serial)
		g.units = append(g.units, u)
		g.byCode[u.code] = u
	}
}

var orgStems = []string{"阳光", "自强", "中致", "联众", "绿荫", "春晖", "同行", "启航", "新生", "向阳", "携手", "正源", "清源", "晨曦", "益民", "和谐"}
var brands = []string{"戒毒中心社区", "阳光工程", "绿荫工作室", "中致社", "自强社", "联众社"}

func (g *Generator) buildOrgs(u *unit, active int, serial *int) {
	closed := max(1, active/50)
	if g.scale < 1 {
		closed = active / 40
	}
	founded := active / 12 // of the active ones, in the year
	total := active + closed
	suspended := active / 90
	for k := range total + suspended {
		*serial++
		h := g.h(saltOrg, u.index, k)
		typ, tail := "52", "禁毒社会工作服务中心"
		switch h % 10 {
		case 0, 1:
			typ, tail = "51", "禁毒社会工作协会"
		case 2:
			typ, tail = "53", "禁毒公益基金会"
		}
		o := org{
			uscc: creditCode(typ, u.area, "MJ", *serial), typ: typ,
			name:   fmt.Sprintf("%s%s第%d%s", u.short, orgStems[h>>8%uint64(len(orgStems))], k+1, tail),
			county: int(h >> 16 % uint64(len(u.counties))), founded: dayOf(2003+int(h>>24%12), 1+int(h>>32%12), 1+int(h>>40%28)),
		}
		if h>>48%6 == 0 {
			o.brand = brands[h>>52%uint64(len(brands))]
		}
		last := months
		if u.late {
			last-- // nothing of November has come
		}
		m := int(h >> 44 % uint64(last))
		switch {
		case k >= total:
			o.suspended = true
		case k >= active:
			o.closed = g.first[m] + 10 + int32(h>>36%15)
		case k >= active-founded:
			o.founded = g.first[m] + int32(h>>36%24)
		default:
			u.stay = k + 1
		}
		u.orgs = append(u.orgs, o)
	}
}
