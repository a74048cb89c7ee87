package dashboards

// The words of this file are what the national office reads: each title asks
// what its panel answers. What a panel counts stands in the catalogue.

var (
	previous = "previous_month"
	year     = "last_year"
	target   = "target"
	nation   = "national_mean"
	rank     = "rank"
)

// Pages lists the dashboards in their order.
func Pages() []Page {
	return []Page{d01(), d02(), d03(), d04(), d05(), d06(), d07(), d08(), d09(), d10(), d11(), d12(), wall(), operator()}
}

func d01() Page {
	return Page{ID: "D01", Name: text("全国总览", "National overview"), Question: text("队伍今天处在什么位置？", "Where does the force stand today?"), marks: true, placed: true, rows: []row{
		{panels: []panel{
			figure(6, "I-01", "队伍有多大？", "How large is the force?").at(0, 0, 5),
			figure(6, "I-02", "规模目标完成了多少？", "How much of the size target is reached?").at(6, 0, 5),
			figure(6, "I-03", "一名社工面对多少名吸毒人员？", "How many users does one worker face?").at(12, 0, 5),
			figure(6, "I-06", "按配备标准还缺多少人？", "How many workers are missing?").at(18, 0, 5),
			tiles(9, "I-10", "力量分布是否均衡？", "Is the force spread evenly?").at(0, 5, 16),
			trend(8, "I-01", "队伍在增长吗？", "Is the force growing?").at(9, 5, 8),
			trend(7, "I-07", "每月进多少人、出多少人？", "Who joins, who leaves?", "movement").says("画到上一个整月。", "Up to the last month that is over.").at(17, 5, 8),
			ranked(15, "I-10", "哪里人手多，哪里人手少？", "Where are workers many, where few?").at(9, 13, 8),
		}},
		{title: text("社会化：组织与购买", "Socialised: organisations and purchase"), panels: []panel{
			figure(6, "I-14", "有多少家社会组织在做？", "How many organisations are at work?"),
			figure(6, "I-15", "多少县有社会组织？", "How many counties have one?"),
			parts(12, "I-24", "purchase_mode", "买项目还是买岗位？", "Are projects bought, or posts?").column("numerator").tall(5),
		}},
		{title: text("专业化：教育与培训", "Specialised: education and training"), panels: []panel{
			figure(8, "I-16", "今年人人参训了吗？", "Was everybody trained this year?"),
			figure(8, "I-20", "多少人持证？", "How many are certified?"),
			figure(8, "I-22", "多少人本科及以上？", "How many have a degree?"),
		}},
		{title: text("职业化：保障与流动", "Vocational: protection and turnover"), panels: []panel{
			figure(8, "I-29", "一年里流失了多少人？", "How many left within a year?"),
			figure(8, "I-32", "社会保险都参加了吗？", "Is everybody insured?"),
			figure(8, "I-31", "薪酬标准落到县了吗？", "Do counties have a pay standard?"),
		}},
		{title: text("数据质量：报送与时效", "Data quality: reporting and freshness"), panels: []panel{
			figure(8, "I-33", "各地按时报了吗？", "Did all report in time?"),
			now(8, "I-40", "数据有多新？", "How fresh is the data?"),
			late(8, "还差谁的数据？", "Whose data is missing?").tall(5),
		}},
	}}
}

func d02() Page {
	return Page{ID: "D02", Name: text("规模与配备", "Size and staffing"), Question: text("谁缺人？", "Who is short of people?"), marks: true, rows: []row{
		{panels: []panel{
			figure(6, "I-01", "队伍有多大？", "How large is the force?"),
			figure(6, "I-03", "每名社工对应多少现有吸毒人员？", "How many registered users per worker?"),
			figure(6, "I-04", "每名社工对应多少康复人员？", "How many in rehabilitation per worker?"),
			figure(6, "I-06", "按配备标准还缺多少人？", "How many workers are missing?"),
			trend(12, "I-01", "哪一类社工在增长？", "Which category is growing?", "worker_category"),
			trend(12, "I-03", "负担在减轻吗？", "Is the load easing?").compare(target).says("虚线为配备目标。", "The dashed line is the staffing target."),
			ranked(24, "I-06", "哪些省份缺口最大？", "Which provinces lack most?"),
			provinces(12, "I-03", "哪些省份社工负担最重？", "Where is the load heaviest?", previous, year, target, rank),
			provinces(12, "I-08", "哪些省份乡镇街道覆盖最少？", "Where are fewest townships covered?", year, target, rank).lowest(),
			ranked(12, "I-05", "专职人员中社工占多少？", "What share of full-time staff are social workers?"),
			parts(12, "I-01", "age_band", "队伍的年龄结构怎样？", "How old is the force?"),
		}},
	}}
}

func d03() Page {
	both := func(p panel) panel { return p.codes("${need}") }
	return Page{ID: "D03", Name: text("省际均衡", "Balance between provinces"), Question: text("发展是否更加均衡？", "Is development getting more even?"), marks: true,
		variables: []variable{{name: "need", label: text("需求口径", "need"), dimension: "need", current: "users"}},
		rows: []row{
			{panels: []panel{
				both(trend(8, "I-11", "基尼系数在下降吗？", "Is the Gini coefficient falling?", "need")),
				both(trend(8, "I-12", "泰尔指数在下降吗？", "Is the Theil index falling?", "need")),
				both(trend(8, "I-13", "变异系数在下降吗？", "Is the coefficient of variation falling?", "need")),
				ranked(24, "I-10", "每千名现有吸毒人员有多少社工？", "How many workers per 1,000 registered users?"),
				{kind: "lorenz", title: text("最缺人的省份占了多少需求、多少社工？", "What share of need and of workers have the worst staffed provinces?"), w: 12, h: 11,
					note:  text("曲线离对角线越远，分布越不均衡；隐去的省份不在曲线上。", "The farther from the diagonal, the less even; hidden provinces are left out."),
					query: Query{Indicator: "I-10", GroupBy: province, Format: "lorenz"}},
				trend(12, "I-12", "差异来自区域之间，还是区域内部？", "Does the difference lie between regions or within them?", "theil_part").tall(11),
				parts(8, "I-11", "region", "东、中、西部内部各有多不均衡？", "How uneven is each region within itself?"),
				trend(8, "I-13", "不按需求加权，结论一样吗？", "Does it hold without weights?", "spread").codes("cv", "cv_plain"),
				trend(8, "I-13", "人手多的省是人手少的省的几倍？", "How far apart are best and worst staffed?", "spread").codes("p90_p10").
					says("各省每单位需求社工数的第 90 百分位与第 10 百分位之比。", "The 90th percentile of workers per need over the 10th."),
				provinces(24, "I-09", "按常住人口看，谁多谁少？", "By residents, who has many, who has few?", year, nation, rank),
			}},
		}}
}

func d04() Page {
	return Page{ID: "D04", Name: text("社会组织培育", "Social organisations"), Question: text("社会组织在成长、在覆盖各县吗？", "Are organisations growing and covering counties?"), marks: true, rows: []row{
		{panels: []panel{
			figure(8, "I-14", "有多少家社会组织在做？", "How many organisations are at work?"),
			figure(8, "I-15", "多少县有社会组织？", "How many counties have one?"),
			figure(8, "I-27", "今年买服务花了多少钱？", "How much was spent on services this year?"),
			trend(12, "I-14", "哪一类组织在增加？", "Which type is growing?", "org_type"),
			trend(12, "I-15", "覆盖在扩大吗？", "Is coverage widening?"),
			ranked(12, "I-14", "哪些省份组织多？", "Which provinces have many?"),
			ranked(12, "I-15", "哪些省份空白县最多？", "Which provinces have most counties without one?").first(10, "asc"),
			parts(12, "I-14", "size_class", "社会组织规模多大？", "How large are the organisations?").says("按机构自报的禁毒社工数分段。", "By the number of workers that each organisation reports."),
			provinceParts(12, "I-14", "org_type", "各省是哪一类组织在做？", "Which types work where?"),
			provinces(24, "I-15", "各省县级覆盖率比去年提高了吗？", "Has each province's county coverage risen?", year, nation, rank).lowest(),
		}},
	}}
}

func d05() Page {
	return Page{ID: "D05", Name: text("政府购买服务", "Government purchase"), Question: text("服务怎么买、花多少钱？", "How is service bought, and for how much?"), marks: true, rows: []row{
		{panels: []panel{
			figure(6, "I-27", "今年花了多少钱？", "How much was spent this year?"),
			figure(6, "I-24", "其中买项目占多少？", "What share went to projects?"),
			figure(6, "I-28", "买来的岗位空了多少？", "How many purchased posts are vacant?"),
			figure(6, "I-25", "到期合同由第三方评了吗？", "Were ended contracts judged by third parties?"),
			parts(12, "I-24", "purchase_mode", "买项目与买岗位各多少？", "How much for projects, how much for posts?").column("numerator"),
			trend(12, "I-24", "购买方式在变吗？", "Is the mode of purchase changing?", "purchase_mode"),
			provinceParts(24, "I-24", "purchase_mode", "各省怎么买？", "How does each province buy?").column("numerator"),
			matrix(12, "I-27", "spending", "各省总额、每名社工、每万人口各投入多少？", "How much in total, per worker, per 10,000 residents?").highest(),
			provinces(12, "I-28", "哪里的岗位招不到人？", "Where do posts stay empty?", year, nation, rank),
			listBars(12, "project_funds", "钱从哪里来？", "Where does the money come from?"),
			listBars(12, "project_methods", "用什么方式采购？", "How is it procured?"),
			list(24, "contracts_ending", "哪些合同 90 天内到期？", "Which contracts end within 90 days?"),
		}},
	}}
}

func d06() Page {
	return Page{ID: "D06", Name: text("教育培训", "Training"), Question: text("人人都参训、层级对吗？", "Is everybody trained, at the right tier?"), marks: true, rows: []row{
		{panels: []panel{
			figure(8, "I-16", "今年人人参训了吗？", "Was everybody trained this year?"),
			figure(8, "I-17", "人均多少学时？", "How many hours per worker?"),
			figure(8, "I-19", "师资骨干有多少？", "How many trainers and backbone?"),
			trend(12, "I-16", "各层级培训覆盖了多少社工？", "How many workers does each tier reach?", "training_tier").says("国家、省级训师资，市级训骨干，县级轮训全员。", "Nation and province train trainers, the city backbone, the county everybody in turn."),
			trend(12, "I-17", "学时在增加吗？", "Are hours growing?"),
			heat(24, "I-16", "各省今年轮训到了哪一步？", "How far is each province's round of training?"),
			provinces(12, "I-16", "哪些省份还没训到？", "Which provinces are behind?", year, target, rank).lowest(),
			provinces(12, "I-17", "哪些省份人均学时多？", "Which provinces train longest?", year, nation, rank),
			heat(24, "I-43", "各省哪个月办了多少期班？", "Who held how many sessions in which month?"),
			provinceParts(24, "I-19", "backbone", "师资骨干在哪里？", "Where are trainers and backbone?"),
			list(24, "sessions", "今年办了哪些班？", "Which sessions were held this year?"),
		}},
	}}
}

func d07() Page {
	return Page{ID: "D07", Name: text("资格与学历", "Qualification and education"), Question: text("队伍有多专业？", "How professional is the force?"), marks: true, rows: []row{
		{panels: []panel{
			figure(5, "I-20", "多少人持证？", "How many are certified?"),
			figure(5, "I-21", "持证者中多少是中高级？", "How many of them intermediate or senior?"),
			figure(5, "I-18", "继续教育达标了吗？", "Is continuing education met?"),
			figure(5, "I-22", "多少人本科及以上？", "How many have a degree?"),
			figure(4, "I-23", "多少人学社工？", "Who studied social work?"),
			parts(12, "I-01", "cert_level", "从无证到高级，各级有多少人？", "From none to senior: how many at each level?"),
			parts(12, "I-01", "education_level", "学历结构怎样？", "How is education distributed?"),
			trend(12, "I-20", "持证率在上升吗？", "Is the certified share rising?"),
			trend(12, "I-20", "各年龄段持证多少？", "How many are certified at each age?", "age_band"),
			provinces(12, "I-20", "哪些省份持证率高？", "Which provinces have most certified?", year, nation, rank),
			provinces(12, "I-21", "哪些省份中高级占比高？", "Which provinces have most intermediate or senior?", year, nation, rank),
			provinces(12, "I-18", "哪些省份继续教育抓得好？", "Which provinces meet continuing education best?", year, nation, rank),
			provinces(12, "I-22", "哪些省份学历高？", "Which provinces have most degrees?", year, nation, rank),
		}},
	}}
}

func d08() Page {
	return Page{ID: "D08", Name: text("职业保障与流动", "Pay, protection, turnover"), Question: text("人留得住吗？", "Can people stay?"), marks: true, rows: []row{
		{panels: []panel{
			figure(6, "I-29", "一年里流失了多少人？", "How many left within a year?"),
			figure(6, "I-30", "社工一般在岗多久？", "How long do people stay?"),
			figure(6, "I-31", "多少县有薪酬标准？", "How many counties have a pay standard?"),
			figure(6, "I-32", "社会保险都参加了吗？", "Is everybody insured?"),
			trend(12, "I-29", "为什么走？", "Why do they leave?", "leave_group"),
			parts(12, "I-30", "tenure_band", "在岗年限怎样分布？", "How is tenure distributed?"),
			trend(12, "I-44", "跨省流动在增加吗？", "Do more people move between provinces?"),
			ranked(12, "I-29", "哪些省份留不住人？", "Which provinces cannot keep people?"),
			matrix(24, "I-44", "other_unit", "一年里谁从哪里转到哪里？", "Who moved from where to where within a year?").tall(20).says("每行是转入的省份，每列是转出的省份。", "A row is where they went, a column where they came from."),
			matrix(12, "I-07", "movement", "上个整月各省进出多少人？", "Who joined, left and moved in the last whole month, by province?").ofLastMonth(),
			provinces(12, "I-32", "哪些省份参保不足？", "Which provinces insure least?", year, nation, rank).lowest(),
			provinces(12, "I-31", "哪些省份薪酬标准还没落到县？", "Where do pay standards not reach the counties?", year, nation, rank).lowest(),
			provinces(12, "I-42", "各省政策保障是否齐全？", "Is each province's set of policies complete?", year, nation, rank).lowest(),
		}},
	}}
}

func d09() Page {
	return Page{ID: "D09", Name: text("考核评估", "Evaluation"), Question: text("服务有没有效、由谁评？", "Does service work, and who judges?"), marks: true, rows: []row{
		{panels: []panel{
			figure(12, "I-25", "到期合同由第三方评了吗？", "Were ended contracts judged by third parties?"),
			figure(12, "I-26", "评为优秀的占多少？", "What share is excellent?"),
			trend(12, "I-25", "第三方评估在推开吗？", "Is third-party evaluation spreading?"),
			parts(12, "I-26", "evaluation_grade", "评估结果怎样分布？", "How are results distributed?"),
			parts(12, "I-26", "evaluation_subject", "评人、评项目、评机构，优秀率一样吗？", "Are persons, projects and organisations judged alike?").says("图中是评为优秀的占比。", "The share rated excellent."),
			parts(12, "I-26", "evaluator_type", "谁评得松、谁评得严？", "Who judges mildly, who strictly?").says("图中是评为优秀的占比。", "The share rated excellent."),
			parts(12, "I-26", "score_band", "得分集中在哪一段？", "Where do the scores lie?"),
			ranked(12, "I-25", "哪些省份第三方评估最少？", "Where do third parties judge least?").lowest(),
			matrix(24, "I-26", "evaluation_grade", "各省评估结果怎样？", "What are the results of each province?"),
		}},
	}}
}

func d10() Page {
	return Page{ID: "D10", Name: text("示范创建", "Demonstration sites"), Question: text("好地方的经验在推广吗？", "What spreads from good places?"), marks: true, rows: []row{
		{panels: []panel{
			now(8, "I-41", "示范点三年内复核了吗？", "Were sites reviewed within three years?", year),
			parts(16, "I-41", "demo_level", "各层级有多少示范点？", "How many sites at each level?").column("denominator").tall(5),
			trend(12, "I-41", "复核在跟上吗？", "Do reviews keep up?", "demo_level"),
			ranked(12, "I-41", "哪些省份复核跟得上？", "Which provinces keep up with reviews?"),
			provinceParts(24, "I-41", "demo_level", "示范点分布在哪里？", "Where are the sites?").column("denominator"),
			list(24, "sites", "哪些示范点最久没有复核？", "Which sites were not reviewed for longest?").tall(14),
		}},
	}}
}

func d11() Page {
	of := func(p panel) panel { return p.units("${province}") }
	mine := func(w uint32, id, zh, en string) panel {
		return of(now(w, id, zh, en, nation, target)).tall(4)
	}
	alone := func(w uint32, id, zh, en string) panel { return of(now(w, id, zh, en, nation)).tall(4) }
	const name = "${province:text}"
	return Page{ID: "D11", Name: text("省份画像", "Province profile"), Question: text("这个省的队伍建设得怎么样？", "How does this province fare?"), marks: true, placed: true,
		variables: []variable{
			{name: "province", label: text("省份", "province"), of: "province", current: "310000"},
			{name: "indicator", label: text("指标", "indicator"), of: "indicator", current: "I-10"},
		},
		rows: []row{
			{panels: []panel{
				tiles(9, "${indicator}", "各省处在什么位置？", "Where does each province stand?").at(0, 0, 16),
				of(now(15, "${indicator}", name+"今天是多少，比全国、比去年如何？", "What is "+name+"'s figure, beside the nation's and last year's?", nation, year, rank)).at(9, 0, 4),
				of(trend(15, "${indicator}", name+"一年来走势怎样？", "How has "+name+" fared over the year?")).compare(nation).at(9, 4, 6),
				ranked(15, "${indicator}", name+"在各省中排在哪里？", "Where does "+name+" stand among the provinces?").at(9, 10, 6),
			}},
			{title: text("规模", "Size"), panels: []panel{
				of(figure(6, "I-01", "队伍有多大？", "How large is the force?")).tall(4),
				mine(6, "I-03", "一名社工面对多少名吸毒人员？", "How many users per worker?"),
				of(figure(6, "I-06", "按配备标准还缺多少人？", "How many workers are missing?")).tall(4),
				mine(6, "I-08", "乡镇街道覆盖多少？", "Are townships covered?"),
				of(counties(8, "I-01", name+"的社工在哪些县区？", "In which counties are "+name+"'s workers?")).tall(10),
				of(parts(8, "I-01", "worker_category", "谁在做这项工作？", "Who does this work?")).flatly().tall(10),
				of(parts(8, "I-16", "training_tier", "受过哪一级培训？", "Trained at which tier?")).flatly().tall(10),
			}},
			{title: text("社会化", "Socialised"), panels: []panel{
				of(figure(6, "I-14", "有多少家组织？", "How many organisations?")).tall(4),
				alone(6, "I-15", "多少县有组织？", "How many counties have one?"),
				of(figure(6, "I-27", "今年投入多少？", "How much was spent this year?")).tall(4),
				mine(6, "I-25", "第三方评估覆盖多少？", "How much is judged by third parties?"),
			}},
			{title: text("专业化", "Specialised"), panels: []panel{
				mine(6, "I-16", "今年参训多少？", "How many were trained?"),
				alone(6, "I-20", "多少人持证？", "How many are certified?"),
				alone(6, "I-21", "中高级占多少？", "How many intermediate or senior?"),
				alone(6, "I-22", "多少人本科及以上？", "How many have a degree?"),
			}},
			{title: text("职业化", "Vocational"), panels: []panel{
				alone(6, "I-29", "一年里流失了多少人？", "How many left within a year?"),
				of(now(6, "I-30", "在岗多久？", "How long do people stay?")).tall(4),
				alone(6, "I-32", "参保多少？", "How many are insured?"),
				alone(6, "I-42", "政策齐全吗？", "Are the policies complete?"),
			}},
			{title: text("数据质量", "Data quality"), panels: []panel{
				mine(8, "I-33", "按时报了吗？", "Reported in time?"),
				of(now(8, "I-40", "数据有多新？", "How fresh is the data?")).tall(4),
				alone(8, "I-34", "记录通过多少？", "How many records are accepted?"),
				of(late(10, "还差哪些数据？", "What data is missing?")).tall(5),
				of(list(14, "balance", "送来的每条记录去了哪里？", "What became of every record sent?")).tall(5),
				of(list(24, "rules", "记录因为什么被拒收？", "Why are records rejected?")).tall(6),
			}},
		}}
}

func d12() Page {
	return Page{ID: "D12", Name: text("数据质量与报送", "Data quality and reporting"), Question: text("这些数字可信吗？", "May I trust the numbers?"), marks: true, rows: []row{
		{panels: []panel{
			figure(6, "I-33", "按时报了吗？", "Was it reported in time?"),
			now(6, "I-34", "记录一次通过多少？", "How many records pass at first?"),
			now(6, "I-35", "身份号码有效多少？", "How many identity numbers are valid?", target),
			now(6, "I-36", "必填项填全了吗？", "Are required values present?"),
			figure(6, "I-37", "同一人两地上报多少？", "How many are reported twice?"),
			figure(6, "I-38", "与机构总数对得上吗？", "Does it match the organisations' totals?"),
			figure(6, "I-39", "更正多少？", "How much is corrected?"),
			now(6, "I-40", "数据有多新？", "How fresh is the data?"),
			heat(24, "I-33", "哪个省哪个月没有按时报？", "Which province was late in which month?"),
			late(12, "谁的哪一期还没到？", "Whose month is missing?"),
			list(12, "rules", "记录因为什么被拒收？", "Why are records rejected?"),
			list(15, "publications", "哪些月份已公布、已批准？", "Which months are published, which approved?").tall(12),
			monthly(9, "I-01", "今天的数与首次公布的差多少？", "How far is today from what was first published?", "first_published").tall(12).says("“—”表示该月尚未公布。", "A dash: the month is not published yet."),
			parts(12, "I-34", "feed", "哪类数据最难通过？", "Which feed passes least?").flatly().lowest().tall(11),
			provinces(12, "I-34", "哪些省份通过率低？", "Which provinces pass least?", nation, rank).lowest().tall(11),
			// Of a pair nearly every cell is too small to be shown.
			ranked(24, "I-37", "哪些省份与外省重复上报的人最多？", "Which provinces report people whom others report too?").
				says("与谁重复，见下方待核案件中的“两地在岗”。", "With whom, say the waiting cases below: open in two units."),
			heat(24, "I-39", "历史月份被改动了多少？", "How much were past months revised?"),
		}},
		{title: text("待核案件", "Cases that wait for a steward"), panels: []panel{
			list(24, "worklist_counts", "各单位有多少案件待核、最久多少天？", "How many cases wait in which unit, and for how long?").
				says("一条数据流判断不了的成对记录：是不是同一人、该算哪个单位。决定之前指标不会合并任何人；用 duiwu worklist decide 作出的决定记名留痕，指标随即照办。",
					"Pairs that no stream can judge: one person or two, and in which unit. Until somebody decides, no figure merges anybody; a decision by duiwu worklist decide keeps a name and a reason, and figures obey it.").tall(10),
			list(24, "worklist", "哪些案件存在最久？", "Which cases stand for longest?").tall(14),
		}},
	}}
}

func operator() Page {
	return Page{ID: "OPS", Name: text("流水线运行", "Running the pipeline"), Question: text("数据在流动吗，账平吗？", "Does data flow, and does it balance?"), marks: true, rows: []row{
		{panels: []panel{
			now(8, "I-40", "最近一批数据距今多久？", "How long ago was the last batch?"),
			now(8, "I-34", "记录通过多少？", "How many records are accepted?"),
			figure(8, "I-33", "按时到达多少？", "How much arrives in time?"),
			live("trend", 16, "rate_nation", "现在每分钟收到多少？", "How much comes in a minute now?"),
			live("stat", 8, "age_nation", "最新一条记录是多久以前入库的？", "How long ago was the newest record stored?"),
			list(24, "balance", "收到的每条记录都有去向吗？", "Has every record received a name for its end?").says("收到 = 入库 + 重复 + 拒收。“不平衡”不为零是程序的错误，请运行 duiwu doctor。", "received = stored + duplicate + rejected. An unexplained count that is not zero is a bug of the program; run duiwu doctor.").tall(12),
			list(12, "rules", "记录因为什么被拒收？", "Why are records rejected?"),
			list(12, "partitions", "每个通道写到哪里、停了多久？", "Where does each topic stand, and since when?"),
			list(24, "arrivals", "哪个单位的哪类数据最久没有更新？", "Whose data was not updated for longest?").tall(14),
			parts(24, "I-40", "feed", "哪类数据最旧？", "Which feed is oldest?").flatly().highest(),
		}},
	}}
}

// wall is one screen for an office: nothing on it scrolls, and it is read from
// five metres. Grafana shows it with ?kiosk&theme=dark.
func wall() Page {
	return Page{ID: "WALL", Name: text("大屏", "Wall"), Question: text("队伍今天怎么样，数据到了吗？", "How is the force, and has its data come?"), placed: true, rows: []row{{panels: []panel{
		figure(4, "I-01", "队伍有多大？", "How large is the force?"),
		figure(4, "I-02", "目标完成多少？", "How near the target?").at(4, 0, 5),
		figure(4, "I-03", "一名社工面对多少人？", "Users per worker?").at(8, 0, 5),
		figure(4, "I-06", "还缺多少人？", "Workers missing?").at(12, 0, 5),
		figure(4, "I-20", "多少人持证？", "How many certified?").at(16, 0, 5),
		live("stat", 4, "age_nation", "最新数据多久以前到？", "How old is the data?").at(20, 0, 5),
		tiles(8, "I-10", "力量分布是否均衡？", "Is the force spread evenly?").at(0, 5, 14),
		late(8, "还差谁的数据？", "Whose data is missing?").at(0, 19, 9),
		trend(8, "I-01", "队伍在增长吗？", "Is the force growing?").at(8, 5, 8),
		ranked(8, "I-10", "哪五地人手最少？", "Which five have fewest?").first(5, "asc").at(8, 13, 7),
		ranked(8, "I-10", "哪五地人手最多？", "Which five have most?").first(5, "desc").at(8, 20, 8),
		{kind: "tiles", title: text("最近一天各地到了多少条数据？", "How many records came in a day?"), w: 8, h: 14, x: 16, y: 5, query: Query{QueryType: "list", List: "last_day", Format: "tiles"}},
		live("trend", 8, "rate_nation", "现在每分钟收到多少条？", "How many records come in a minute?").at(16, 19, 9),
	}}}}
}
