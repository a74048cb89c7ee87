package feed

// Rule names one way in which a record can fall short of its contract. Its id
// (String) is stable: receipts, the quarantine and `duiwu check --json` carry it.
type Rule uint8

// Severity says what a broken rule does to its record.
type Severity uint8

const (
	// Error keeps the record out of the tables; it goes to the quarantine.
	Error Severity = iota
	// Warning stores the record and counts the note on the receipt.
	Warning
)

func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// The rules. Add one together with its row in ruleTable; a test compares them.
const (
	NoRule Rule = iota

	// The message as a whole.
	MessageEmpty
	MessageTooLarge
	MessageUndecodable
	ContentTypeUnknown
	FeedUnknown
	ReportingUnit
	SchemaVersion
	UnknownField
	ForbiddenField
	DuplicateField
	SealBroken
	SealKeyRetired
	Erased

	// Any value.
	Required
	RequiredWith
	Type
	OutOfRange
	CodeList
	DamagedText
	PersonalInOpenField

	// Citizen identity numbers, GB 11643-1999.
	RICLength
	RICChar
	RICBirthDate
	RICChecksum
	RICPrecision
	RICFuture
	RICLegacyAge
	RICTestArea
	RICFifteenDigits
	RICAreaUnknown
	RICSexMismatch
	RICBirthMismatch

	// Unified social credit codes, GB 32100-2015.
	USCCLength
	USCCChar
	USCCChecksum
	USCCOrgChecksum
	OrgTypeMismatch

	// Dates and times.
	DateInvalid
	DateAmbiguous
	DatePartial
	DateOrder
	ReportedAtFuture
	ReportedAtEarly
	ReportedAtPrecision
	ReportedAtOld

	// Money, numbers, divisions, telephones.
	MoneyUnit
	MoneyNotExact
	MoneyInvalid
	DivisionUnknown
	DivisionRetired
	MobileInvalid

	// Between fields.
	EvaluatorSelf
	IDUnchanged
	CorrectsItself
	EducationHeader

	// Of a file of people, judged before it is pushed.
	Formula
	DuplicateInFile
	InFileConflict
	MappedColumn

	// ruleEnd counts the rules; keep it last.
	ruleEnd
)

// RuleInfo is what a person reads about a rule. The messages name the rule and
// the mend, never a value; "{field}" stands for the field's own name.
type RuleInfo struct {
	ID       string
	Severity Severity
	Zh, En   string
	// Facts lists the names the standards' notes use for the same rule.
	Facts string
}

var ruleTable = [ruleEnd]RuleInfo{
	NoRule: {ID: "none"},

	MessageEmpty:       {ID: "message_empty", Zh: "消息为空，请检查推送程序后重发。", En: "The message is empty; check the pushing system and send it again."},
	MessageTooLarge:    {ID: "message_too_large", Zh: "消息超过允许的大小，请拆成较小的批块再发。", En: "The message is larger than allowed; split the batch into smaller chunks."},
	MessageUndecodable: {ID: "message_undecodable", Zh: "消息不是可读的 JSON、CSV 或 Arrow 数据，请按模板重新导出。", En: "The message is not readable JSON, CSV or Arrow data; export it again from the template."},
	ContentTypeUnknown: {ID: "content_type_unknown", Zh: "消息头 content-type 不认识，请使用 application/json、text/csv 或 application/vnd.apache.arrow.stream。", En: "The content-type header is not known; use application/json, text/csv or application/vnd.apache.arrow.stream."},
	FeedUnknown:        {ID: "feed_unknown", Zh: "数据类别（feed）不在目录中，请对照数据目录填写。", En: "The feed is not in the catalogue; use one of the published feed names."},
	ReportingUnit:      {ID: "reporting_unit", Zh: "报送单位与通道不一致：每个单位只能报送自己的数据。", En: "The reporting unit is not the one this topic belongs to: a unit reports for itself only."},
	SchemaVersion:      {ID: "schema_version", Zh: "模式版本写法有误，应为正整数。", En: "The schema version must be a positive whole number."},
	UnknownField:       {ID: "unknown_field", Zh: "字段“{field}”不在该类别的字段表中，请删除或改名。", En: "Field {field} is not part of this feed; remove or rename it."},
	ForbiddenField:     {ID: "forbidden_field", Zh: "字段“{field}”属于不得接收的个人信息，请从源头删除后重发。", En: "Field {field} must not be sent at all; remove it at the source and send again."},
	DuplicateField:     {ID: "duplicate_field", Zh: "字段“{field}”在同一条记录中出现多次，请只保留一个。", En: "Field {field} appears more than once in one record; keep one."},
	SealBroken:         {ID: "seal_broken", Zh: "密封的个人标识打不开（内容被改动、截断，或不属于这条消息），请重新准备文件后再报。", En: "The sealed identifiers do not open (changed, cut short, or of another message); prepare the file anew and push it again."},
	SealKeyRetired:     {ID: "seal_key_retired", Zh: "密封所用的国家公钥已停用，请换用现行公钥，重新准备文件后再报。", En: "The public key used for sealing was retired; fetch the present one, prepare the file anew and push it again."},
	Erased:             {ID: "erased", Zh: "这条记录已应当事人请求删除，不再接收；若认为有误，请联系国家办公室。", En: "This record was erased at the person's request and is not taken any more; ask the national office if you think this is wrong."},

	Required:            {ID: "required", Zh: "“{field}”必填而为空。", En: "{field} is required and empty."},
	RequiredWith:        {ID: "required_with", Zh: "填写了相关字段时，“{field}”也必须填写。", En: "{field} is required together with the field it belongs to."},
	Type:                {ID: "type", Zh: "“{field}”的写法不符合该字段的类型。", En: "{field} is not written as its type asks."},
	OutOfRange:          {ID: "out_of_range", Zh: "“{field}”超出允许的范围。", En: "{field} is outside its range."},
	CodeList:            {ID: "code_list", Zh: "“{field}”不在代码表中，请按代码表填写代码或名称。", En: "{field} is not in its code list; use a code or a name from the list."},
	DamagedText:         {ID: "damaged_text", Zh: "“{field}”含有损坏或无法识别的字符（常见于编码转换或生僻字），请用 UTF-8 重新导出。", En: "{field} holds damaged characters (an encoding slip or a rare character); export it again as UTF-8.", Facts: "NAME_RARE_CHAR"},
	PersonalInOpenField: {ID: "personal_in_open_field", Zh: "“{field}”里写有证件号码或手机号码，此处不得填写个人信息。", En: "{field} holds an identity or mobile number; this field must not carry one."},

	RICLength:        {ID: "ric_length", Zh: "“{field}”位数不对，公民身份号码应为 18 位。", En: "{field} has the wrong length; a citizen identity number has 18 characters.", Facts: "RIC_LENGTH"},
	RICChar:          {ID: "ric_char", Zh: "“{field}”含有不允许的字符（例如把 0 写成了字母 O）。", En: "{field} holds a character that cannot stand there, such as the letter O for zero.", Facts: "RIC_CHAR"},
	RICBirthDate:     {ID: "ric_birth_date", Zh: "“{field}”第 7 至 14 位不是有效日期。", En: "{field}: characters 7 to 14 are not a date.", Facts: "RIC_DATE"},
	RICChecksum:      {ID: "ric_checksum", Zh: "“{field}”校验码不符，请与证件核对。", En: "{field} fails its check character; compare it with the card.", Facts: "RIC_CHECK"},
	RICPrecision:     {ID: "ric_precision", Zh: "“{field}”被电子表格当成数字截断了，请把该列设为文本后重新录入。", En: "{field} was cut by a spreadsheet that took it for a number; format the column as text and enter it again.", Facts: "RIC_PRECISION"},
	RICFuture:        {ID: "ric_future", Zh: "“{field}”中的出生日期晚于今天。", En: "{field}: the birth date in it lies in the future.", Facts: "RIC_FUTURE"},
	RICLegacyAge:     {ID: "ric_legacy_age", Zh: "“{field}”是为 1900 年以前出生者保留的 15 位号码。", En: "{field} is a 15-digit number kept for people born before 1900.", Facts: "RIC_LEGACY_AGE"},
	RICTestArea:      {ID: "ric_test_area", Zh: "“{field}”使用了保留的测试地区码，正式报送不接受。", En: "{field} uses the reserved test area; it is not accepted in production."},
	RICFifteenDigits: {ID: "ric_fifteen_digits", Severity: Warning, Zh: "“{field}”是 15 位旧号码（2013 年起停用），已按规则升为 18 位，请更新源系统。", En: "{field} is a 15-digit number (no longer valid since 2013); it was extended to 18, mend it at the source."},
	RICAreaUnknown:   {ID: "ric_area_unknown", Severity: Warning, Zh: "“{field}”前六位从未是行政区划代码，请核对。", En: "{field}: the first six digits never were a division code; check it."},
	RICSexMismatch:   {ID: "ric_sex_mismatch", Severity: Warning, Zh: "“{field}”与身份号码中的性别不一致，请核对。", En: "{field} differs from the sex in the identity number; check it."},
	RICBirthMismatch: {ID: "ric_birth_mismatch", Severity: Warning, Zh: "“{field}”与身份号码中的出生日期不一致，请核对。", En: "{field} differs from the birth date in the identity number; check it."},

	USCCLength:      {ID: "uscc_length", Zh: "“{field}”位数不对，统一社会信用代码应为 18 位。", En: "{field} has the wrong length; a unified social credit code has 18 characters.", Facts: "USCC_LENGTH"},
	USCCChar:        {ID: "uscc_char", Zh: "“{field}”含有不允许的字符（代码中没有 I、O、S、V、Z）。", En: "{field} holds a character that cannot stand there (I, O, S, V, Z never do).", Facts: "USCC_CHAR"},
	USCCChecksum:    {ID: "uscc_checksum", Zh: "“{field}”校验码不符，请与证照核对。", En: "{field} fails its check character; compare it with the certificate.", Facts: "USCC_CHECK"},
	USCCOrgChecksum: {ID: "uscc_org_checksum", Severity: Warning, Zh: "“{field}”中第 9 至 17 位的组织机构代码校验码不符，请核对。", En: "{field}: the organisation code inside it fails its own check; compare it.", Facts: "ORG_CHECK"},
	OrgTypeMismatch: {ID: "org_type_mismatch", Severity: Warning, Zh: "“{field}”与统一社会信用代码前两位不一致，请核对。", En: "{field} differs from the first two characters of the credit code; check it."},

	DateInvalid:         {ID: "date_invalid", Zh: "“{field}”不是有效日期，请写成 2016-11-11 或 2016年11月11日。", En: "{field} is not a date; write 2016-11-11 or 2016年11月11日.", Facts: "DATE_INVALID"},
	DateAmbiguous:       {ID: "date_ambiguous", Zh: "“{field}”的日期有多种读法，请写成 2016-11-11。", En: "{field} can be read as more than one date; write 2016-11-11.", Facts: "DATE_AMBIGUOUS"},
	DatePartial:         {ID: "date_partial", Zh: "“{field}”需要精确到日。", En: "{field} needs the day as well."},
	DateOrder:           {ID: "date_order", Zh: "“{field}”早于它之前应有的日期。", En: "{field} lies before the date it must follow."},
	ReportedAtFuture:    {ID: "reported_at_future", Zh: "“{field}”比接收时间晚 10 分钟以上，请校准报送系统的时钟。", En: "{field} lies more than 10 minutes ahead; set the clock of the reporting system."},
	ReportedAtEarly:     {ID: "reported_at_early", Zh: "“{field}”早于 2003 年，请检查报送系统的时钟。", En: "{field} lies before 2003; check the clock of the reporting system."},
	ReportedAtPrecision: {ID: "reported_at_precision", Zh: "“{field}”须精确到秒。", En: "{field} must be exact to the second."},
	ReportedAtOld:       {ID: "reported_at_old", Severity: Warning, Zh: "“{field}”比接收时间早一年以上，请确认不是旧数据误发。", En: "{field} is more than a year older than its arrival; make sure this is not an old batch sent by mistake."},

	MoneyUnit:       {ID: "money_unit", Zh: "“{field}”没有写明金额单位，请写 元、万元 或整数分。", En: "{field} has no unit of money; write 元, 万元, or whole fen.", Facts: "MONEY_UNIT_MISSING"},
	MoneyNotExact:   {ID: "money_not_exact", Zh: "“{field}”不是确切金额。", En: "{field} is not an exact amount.", Facts: "MONEY_NOT_EXACT"},
	MoneyInvalid:    {ID: "money_invalid", Zh: "“{field}”不是可读的金额。", En: "{field} cannot be read as an amount of money."},
	DivisionUnknown: {ID: "division_unknown", Zh: "“{field}”不是行政区划代码。", En: "{field} is not a division code."},
	DivisionRetired: {ID: "division_retired", Severity: Warning, Zh: "“{field}”在该日期已撤销或尚未启用，请改用当日有效的代码。", En: "{field} was not in force on that date; use the code of that day."},
	MobileInvalid:   {ID: "mobile_invalid", Zh: "“{field}”不是有效的手机号码。", En: "{field} is not a mobile number."},

	EvaluatorSelf:   {ID: "evaluator_self", Zh: "“{field}”：第三方评估机构不得是评估对象自身。", En: "{field}: a third-party evaluator must differ from whom it evaluates."},
	IDUnchanged:     {ID: "id_unchanged", Zh: "“{field}”与原号码是同一个号码（15 位升为 18 位不算变更），请填写变更后的号码，或删除本条。", En: "{field} is the former number again (a 15-digit number and its 18-digit form are one); give the number after the change, or leave the record out."},
	CorrectsItself:  {ID: "corrects_itself", Severity: Warning, Zh: "“{field}”与本记录号相同，按普通更新处理。", En: "{field} names the record itself; it was taken as an ordinary update."},
	EducationHeader: {ID: "education_header", Severity: Warning, Zh: "“{field}”是大类代码，请填写具体的毕业、结业或肄业代码。", En: "{field} is a category line; use the code that says graduated, completed or not completed."},

	Formula:         {ID: "formula", Zh: "“{field}”是公式或错误值，不予执行，请复制后“选择性粘贴为数值”。", En: "{field} is a formula or an error value, and formulas are not run; copy it and paste it back as a value."},
	DuplicateInFile: {ID: "duplicate_in_file", Severity: Warning, Zh: "“{field}”所指的对象在本文件中已有完全相同的一行，只入库一次，请删除重复行。", En: "{field}: the file already has the same row for the same subject; it is stored once, remove the repeated row."},
	InFileConflict:  {ID: "conflict", Zh: "“{field}”所指的对象在本文件中另有一行内容不同，请核实后只保留正确的一行。", En: "{field}: the file has another row for the same subject with other content; find out which is right and keep that one."},
	MappedColumn:    {ID: "mapped_column", Zh: "映射文件为“{field}”指定的列在表中没有：请核对列名；可有可无的列在映射中写 optional: true。", En: "The table has no such column as the mapping names for {field}; check its heading, or write optional: true for a column that may be absent."},
}

// Info returns the rule's row: id, severity, and the sentences for people.
func (r Rule) Info() *RuleInfo { return &ruleTable[r] }

func (r Rule) String() string { return ruleTable[r].ID }

// Severity says what the rule does to its record.
func (r Rule) Severity() Severity { return ruleTable[r].Severity }

// Rules lists every rule in a stable order.
func Rules() []Rule {
	out := make([]Rule, 0, ruleEnd-1)
	for r := NoRule + 1; r < ruleEnd; r++ {
		out = append(out, r)
	}
	return out
}

// RuleNamed returns the rule with an id.
func RuleNamed(id string) (Rule, bool) {
	for r := NoRule + 1; r < ruleEnd; r++ {
		if ruleTable[r].ID == id {
			return r, true
		}
	}
	return NoRule, false
}
