package feed

// Kind is the logical type of a field: what the value means, not how it is
// written. One row of kindTable per kind; every other room keys its own work
// (Arrow type, normalizer, pseudonymizer) by Kind, and a test in internal/house
// fails when a room has a hole.
type Kind uint8

const (
	NoKind Kind = iota
	Text
	Key
	Code
	Codes
	Unit
	Division
	ResidentID
	CreditCode
	PersonName
	Mobile
	Secret
	Birth
	Pay
	Subject
	Date
	Period
	Time
	Money
	Integer
	Tenths
	Bool

	// kindEnd counts the kinds; keep it last.
	kindEnd
)

// Store is how a kind stands in memory and in the database once it has been
// normalized: the bridge between the Arrow column and the ClickHouse column.
type Store uint8

const (
	// StoreText is UTF-8 text; absent is the empty string.
	StoreText Store = iota + 1
	// StoreCode is text from a small set; absent is the empty string.
	StoreCode
	// StoreCodes is a list of codes; absent is the empty list.
	StoreCodes
	// StoreDate is days since 1970-01-01 (int32).
	StoreDate
	// StoreTime is milliseconds since 1970-01-01 UTC (int64).
	StoreTime
	// StoreInt is an int64.
	StoreInt
	// StoreTenths is a decimal with one place.
	StoreTenths
	// StoreBool is a truth value.
	StoreBool
	// StoreToken is a 32-byte keyed pseudonym.
	StoreToken
	// StoreYear is a calendar year (int32).
	StoreYear
	// StoreVersion is a record version: 16 bytes, an unsigned little-endian
	// integer. Only system columns have it.
	StoreVersion
	// StoreByte is a uint8; only system columns have it.
	StoreByte
	// StoreInt32 is an int32; only system columns have it.
	StoreInt32
)

// KindInfo is a kind's row.
type KindInfo struct {
	Name string
	// Store is the form after the transform steps.
	Store Store
	// ClickHouse is the column type of a required field, Optional that of an
	// optional one. Text and codes have no NULL: an absent value is empty.
	ClickHouse, Optional string
	// JSON is the type in the JSON Schema that provinces get.
	JSON string
	// Personal says that the raw value is a direct identifier: it becomes a
	// token, a year or a band, and ends in the pseudonymize step.
	Personal bool
	// Suffix is appended to the field's name in the tables where the stored
	// value is no longer the one sent.
	Suffix string
	// DocZh and Doc say what to write, to a clerk and in English.
	DocZh, Doc string
	Example    string
}

var kindTable = [kindEnd]KindInfo{
	Text:       {Name: "text", Store: StoreText, ClickHouse: "String", Optional: "String", JSON: "string", DocZh: "文字；不得写入身份号码或手机号码。", Doc: "Open text; must not hold an identity or mobile number.", Example: "社工服务中心"},
	Key:        {Name: "key", Store: StoreText, ClickHouse: "String", Optional: "String", JSON: "string", DocZh: "源系统中的编号；全角字符和首尾空格会自动整理。", Doc: "An identifier of the source system; width-folded and trimmed.", Example: "P-2016-0042"},
	Code:       {Name: "code", Store: StoreCode, ClickHouse: "LowCardinality(String)", Optional: "LowCardinality(String)", JSON: "string", DocZh: "代码，或代码表中的名称、别名。", Doc: "One code of a list; a listed name or alias is accepted and becomes its code.", Example: "01"},
	Codes:      {Name: "codes", Store: StoreCodes, ClickHouse: "Array(LowCardinality(String))", Optional: "Array(LowCardinality(String))", JSON: "array", DocZh: "可写多个代码，用逗号、分号或顿号隔开。", Doc: "Several codes of one list; as text, separated by comma, semicolon or 、.", Example: "1,3"},
	Unit:       {Name: "unit", Store: StoreCode, ClickHouse: "LowCardinality(String)", Optional: "LowCardinality(String)", JSON: "string", DocZh: "报送单位：省级区划代码，兵团为 660000，国家办公室为 000000。", Doc: "A reporting unit: a provincial division code, 660000 for the Corps, 000000 for the national office.", Example: "310000"},
	Division:   {Name: "division", Store: StoreCode, ClickHouse: "LowCardinality(String)", Optional: "LowCardinality(String)", JSON: "string", DocZh: "六位行政区划代码（GB/T 2260），须在记录的日期有效。", Doc: "A GB/T 2260 division code, valid on the record's date.", Example: "310115"},
	ResidentID: {Name: "resident_id", Store: StoreToken, ClickHouse: "FixedString(32)", Optional: "Nullable(FixedString(32))", JSON: "string", Personal: true, Suffix: "_token", DocZh: "公民身份号码（GB 11643-1999）；不存原号码，只存用密钥算出的标识。", Doc: "A citizen identity number, GB 11643-1999; stored only as a keyed token.", Example: "119901198001153013"},
	CreditCode: {Name: "credit_code", Store: StoreText, ClickHouse: "String", Optional: "String", JSON: "string", DocZh: "18 位统一社会信用代码（GB 32100-2015）。", Doc: "A unified social credit code, GB 32100-2015.", Example: "52119900MJ0000018T"},
	PersonName: {Name: "person_name", Store: StoreToken, ClickHouse: "FixedString(32)", Optional: "Nullable(FixedString(32))", JSON: "string", Personal: true, Suffix: "_token", DocZh: "姓名；不存原文，只存用密钥算出的标识。", Doc: "A person's name; stored only as a keyed token of its comparison form.", Example: "阿依古丽·买买提"},
	Mobile:     {Name: "mobile", Store: StoreToken, ClickHouse: "FixedString(32)", Optional: "Nullable(FixedString(32))", JSON: "string", Personal: true, Suffix: "_token", DocZh: "11 位手机号码；不存原号码，只存用密钥算出的标识。", Doc: "A mobile telephone number; stored only as a keyed token.", Example: "13800000000"},
	Secret:     {Name: "secret", Store: StoreToken, ClickHouse: "FixedString(32)", Optional: "Nullable(FixedString(32))", JSON: "string", Personal: true, Suffix: "_token", DocZh: "个人证件的编号；不存原编号，只存用密钥算出的标识。", Doc: "An identifier of a person's document; stored only as a keyed token.", Example: "2016-000123"},
	Birth:      {Name: "birth", Store: StoreYear, ClickHouse: "Int32", Optional: "Nullable(Int32)", JSON: "string", Personal: true, Suffix: "_year", DocZh: "出生日期；只存年份。", Doc: "A birth date; only the year is stored.", Example: "1980-01-15"},
	Pay:        {Name: "pay", Store: StoreCode, ClickHouse: "LowCardinality(String)", Optional: "LowCardinality(String)", JSON: "string", Personal: true, Suffix: "_band", DocZh: "个人月收入，写明单位；只存所在的档。", Doc: "A person's monthly pay; only its band (code list pay_band) is stored.", Example: "350000"},
	Subject:    {Name: "subject", Store: StoreText, ClickHouse: "String", Optional: "String", JSON: "string", Personal: true, DocZh: "被评估的对象：机构写统一社会信用代码，项目或岗位写编号，个人写公民身份号码（不存原号码）。", Doc: "Whom an evaluation judges: a credit code, project or post number; for a person the identity number, stored as a keyed token in hexadecimal.", Example: "52119900MJ0000018T"},
	Date:       {Name: "date", Store: StoreDate, ClickHouse: "Date32", Optional: "Nullable(Date32)", JSON: "string", DocZh: "日期，按 GB/T 7408 或电子表格常见的写法。", Doc: "A day, GB/T 7408 and the forms spreadsheets write.", Example: "2016-11-11"},
	Period:     {Name: "period", Store: StoreDate, ClickHouse: "Date32", Optional: "Nullable(Date32)", JSON: "string", DocZh: "月份（存为当月第一天），或某一天。", Doc: "A month (stored as its first day) or a day.", Example: "201611"},
	Time:       {Name: "time", Store: StoreTime, ClickHouse: "DateTime64(3, 'Asia/Shanghai')", Optional: "Nullable(DateTime64(3, 'Asia/Shanghai'))", JSON: "string", DocZh: "时间，精确到秒；不写时区按北京时间。", Doc: "A moment, exact to the second; +08:00 when no offset is written.", Example: "2016-11-11T22:42:31+08:00"},
	Money:      {Name: "money", Store: StoreInt, ClickHouse: "Int64", Optional: "Nullable(Int64)", JSON: "string", DocZh: "金额，写明单位；不写单位的整数按分计。", Doc: "An amount in fen; a bare whole number is fen, anything else names its unit.", Example: "1.2万元"},
	Integer:    {Name: "integer", Store: StoreInt, ClickHouse: "Int64", Optional: "Nullable(Int64)", JSON: "integer", DocZh: "整数。", Doc: "A whole number.", Example: "42"},
	Tenths:     {Name: "tenths", Store: StoreTenths, ClickHouse: "Decimal(9, 1)", Optional: "Nullable(Decimal(9, 1))", JSON: "number", DocZh: "数字，至多一位小数。", Doc: "A number with at most one decimal place.", Example: "7.5"},
	Bool:       {Name: "bool", Store: StoreBool, ClickHouse: "Bool", Optional: "Nullable(Bool)", JSON: "boolean", DocZh: "是或否。", Doc: "True or false; 是 and 否 are accepted.", Example: "true"},
}

// Info returns the kind's row.
func (k Kind) Info() *KindInfo { return &kindTable[k] }

func (k Kind) String() string { return kindTable[k].Name }

// Kinds lists every kind in table order.
func Kinds() []Kind {
	out := make([]Kind, 0, kindEnd-1)
	for k := NoKind + 1; k < kindEnd; k++ {
		out = append(out, k)
	}
	return out
}

func kindNamed(name string) (Kind, bool) {
	for k := NoKind + 1; k < kindEnd; k++ {
		if kindTable[k].Name == name {
			return k, true
		}
	}
	return NoKind, false
}
