#!/usr/bin/env python3
"""Makes the awkward files of other programs. Run once, commit what comes out.

    python3 -m venv venv && venv/bin/pip install openpyxl==3.1.5 pandas==3.1.1 pyarrow==26.0.1 pyexcelerate xlwt
    venv/bin/python make.py ../testdata        # LibreOffice Calc (soffice) must be on the PATH
    go test ./cmd/duiwu -run AwkwardFiles -update   # writes the .want files: read them before you commit

The tests need none of these programs. All persons are of the reserved test area PP99xx.
"""
import datetime
import io
import os
import subprocess
import sys
import tempfile
import zipfile

import openpyxl
import pandas
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pyexcelerate
import xlwt

OUT = os.path.abspath(sys.argv[1])
HEAD = "公民身份号码,姓名,手机号码,性别,出生日期,学历,人员类别,用人单位代码,工作地区划,从事禁毒社工起始日期".split(",")
ROWS = [
    ["119901198001153013", "张三", "13800000001", "男", "1980-01-15", "本科", "01", "52119900MJ0000018T", "310115", "2010-03-01"],
    ["319902198512310029", "李四", "13800000002", "女", "1985-12-31", "本科", "01", "52119900MJ0000018T", "310115", "2011-05-01"],
    ["449903199202290173", "王五", "", "男", "1992-02-29", "大专", "03", "52119900MJ0000018T", "310101", ""],
]
DATES = (4, 9)


def path(name):
    return os.path.join(OUT, name)


def put(name, raw):
    with open(path(name), "wb") as f:
        f.write(raw)


def text(rows, sep=",", end="\n"):
    def cell(c):
        return '"' + c.replace('"', '""') + '"' if any(x in c for x in (sep, '"', "\n", "\r")) else c
    return "".join(sep.join(cell(c) for c in r) + end for r in rows)


def fods(sheets, extra=""):
    """Flat ODS: what LibreOffice reads to write everything else."""
    esc = lambda s: s.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    def cell(c):
        if isinstance(c, tuple):  # (raw cell XML)
            return c[0]
        if isinstance(c, datetime.date):
            return f'<table:table-cell table:style-name="zh" office:value-type="date" office:date-value="{c.isoformat()}"><text:p>{c.isoformat()}</text:p></table:table-cell>'
        if isinstance(c, (int, float)):
            return f'<table:table-cell office:value-type="float" office:value="{c}"><text:p>{c}</text:p></table:table-cell>'
        return f'<table:table-cell office:value-type="string"><text:p>{esc(c)}</text:p></table:table-cell>' if c else "<table:table-cell/>"
    body = ""
    for name, rows in sheets:
        body += f'<table:table table:name="{name}">'
        for r in rows:
            hidden = ""
            if r and r[0] == "HIDDEN":
                hidden, r = ' table:visibility="collapse"', r[1:]
            body += f"<table:table-row{hidden}>" + "".join(cell(c) for c in r) + "</table:table-row>"
        body += "</table:table>"
    return f'''<?xml version="1.0" encoding="UTF-8"?>
<office:document xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" xmlns:style="urn:oasis:names:tc:opendocument:xmlns:style:1.0" xmlns:number="urn:oasis:names:tc:opendocument:xmlns:datastyle:1.0" xmlns:of="urn:oasis:names:tc:opendocument:xmlns:of:1.2" office:version="1.2" office:mimetype="application/vnd.oasis.opendocument.spreadsheet">
<office:automatic-styles><number:date-style style:name="d1"><number:year number:style="long"/><number:text>年</number:text><number:month/><number:text>月</number:text><number:day/><number:text>日</number:text></number:date-style><style:style style:name="zh" style:family="table-cell" style:data-style-name="d1"/></office:automatic-styles>
<office:body><office:spreadsheet>{extra}{body}</office:spreadsheet></office:body></office:document>'''.encode()


def soffice(raw, to, name, ext=".fods"):
    with tempfile.TemporaryDirectory() as d:
        src = os.path.join(d, "in" + ext)
        with open(src, "wb") as f:
            f.write(raw)
        subprocess.run(["soffice", "--headless", f"-env:UserInstallation=file://{d}/profile", "--convert-to", to, "--outdir", d, src], check=True, capture_output=True)
        with open(os.path.join(d, "in." + to.split(":")[0]), "rb") as f:
            put(name, f.read())


def libreoffice():
    typed = [[datetime.date.fromisoformat(c) if i in DATES and c else c for i, c in enumerate(r)] for r in ROWS]
    title = ('<table:table-cell table:number-columns-spanned="10" office:value-type="string"><text:p>某市禁毒社会工作者花名册</text:p></table:table-cell>',)
    soffice(fods([("名册", [[title], ["填报日期：2016年11月30日"], HEAD] + typed)]), "xlsx", "lo-title-dates.xlsx")
    # Numbers as text and text as numbers; a telephone number as a number; a code that lost its zero.
    loose = [list(r) for r in typed]
    loose[0][2], loose[0][6], loose[1][6], loose[1][8] = 13800000001, 1, "'01", 310115
    loose[2][0] = 449903199202290173
    soffice(fods([("名册", [HEAD] + loose)]), "xlsx", "lo-numbers-as-text.xlsx")
    formula = lambda f, v: (f'<table:table-cell table:formula="of:={f}" office:value-type="string" office:string-value="{v}"><text:p>{v}</text:p></table:table-cell>',)
    computed = [list(r) for r in typed]
    computed[0][1], computed[1][1] = formula('CONCATENATE(&quot;张&quot;;&quot;三&quot;)', "张三"), formula("[.A99999]&amp;1/0", "x")
    soffice(fods([("名册", [HEAD] + computed)]), "xlsx", "lo-formulas.xlsx")
    note = ('<table:table-cell office:value-type="string"><office:annotation><text:p>已核对</text:p></office:annotation><text:p>张三</text:p></table:table-cell>',)
    noted = [list(r) for r in typed]
    noted[0][1] = note
    blanks = [[""] * 10] * 3
    soffice(fods([("说明", [["请在第二张表填写"]]), ("名册", [HEAD, noted[0], ["HIDDEN"] + noted[1], noted[2]] + blanks + [["合计", "3人"]])]), "xlsx", "lo-notes-hidden-total.xlsx")
    group = ('<table:table-cell table:number-columns-spanned="3" office:value-type="string"><text:p>个人</text:p></table:table-cell><table:covered-table-cell table:number-columns-repeated="2"/>',)
    down = lambda t: (f'<table:table-cell table:number-rows-spanned="2" office:value-type="string"><text:p>{t}</text:p></table:table-cell>',)
    cover = ("<table:covered-table-cell/>",)
    soffice(fods([("名册", [[group] + [down(h) for h in HEAD[3:]], HEAD[:3] + [cover] * 7] + typed)]), "xlsx", "lo-grouped-head.xlsx")
    # What Calc exports as text: UTF-8, GB18030 with semicolons, Unicode with tabs, every cell quoted.
    odd = [list(r) for r in typed]
    odd[0][1] = "张三\n（曾用名 \"张叁\"；另见）"
    soffice(fods([("名册", [HEAD] + typed)]), "ods", "/tmp/duiwu-corpus.ods")
    with open("/tmp/duiwu-corpus.ods", "rb") as f:
        ods = f.read()
    os.remove("/tmp/duiwu-corpus.ods")
    soffice(ods, "csv:Text - txt - csv (StarCalc):44,34,76,1", "lo-ods-utf8.csv", ".ods")
    soffice(ods, "csv:Text - txt - csv (StarCalc):59,34,85,1", "lo-ods-semicolon-gb18030.csv", ".ods")
    soffice(ods, "csv:Text - txt - csv (StarCalc):9,34,65535,1", "lo-ods-unicode-tabs.csv", ".ods")
    soffice(ods, "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,true", "lo-ods-all-quoted.csv", ".ods")
    soffice(fods([("名册", [HEAD] + odd)]), "csv:Text - txt - csv (StarCalc):44,34,76,1", "lo-lines-in-cells.csv")
    soffice(ods, "html", "lo-html.xls", ".ods")
    soffice(ods, "dif", "lo-data-interchange.dif", ".ods")
    soffice(ods, "xlsm:Calc MS Excel 2007 VBA XML", "lo-macro.xlsm", ".ods")
    soffice(ods, "xls:MS Excel 97", "lo-old-renamed.xlsx", ".ods")
    soffice(ods, "xml:MS Excel 2003 XML", "lo-excel-2003.xml", ".ods")


def book(parts, name, compress=zipfile.ZIP_DEFLATED):
    b = io.BytesIO()
    with zipfile.ZipFile(b, "w", compress) as z:
        for n, t in parts.items():
            z.writestr(zipfile.ZipInfo(n, (2016, 11, 30, 0, 0, 0)), t, compress)
    put(name, b.getvalue())


MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
REL = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def package(sheet, shared="", styles="", main=MAIN, rel=REL, book_pr="", prefix=""):
    p, ns = (prefix + ":", ":" + prefix) if prefix else ("", "")
    parts = {
        "[Content_Types].xml": '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="{rel}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?><{p}workbook xmlns{ns}="{main}" xmlns:r="{rel}">{book_pr}<{p}sheets><{p}sheet name="名册" sheetId="1" r:id="rId1"/></{p}sheets></{p}workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="{rel}/worksheet" Target="/xl/worksheets/sheet1.xml"/><Relationship Id="rId2" Type="{rel}/sharedStrings" Target="sharedStrings.xml"/><Relationship Id="rId3" Type="{rel}/styles" Target="styles.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<?xml version="1.0" encoding="UTF-8"?><{p}worksheet xmlns{ns}="{main}">{sheet}</{p}worksheet>',
    }
    if shared:
        parts["xl/sharedStrings.xml"] = f'<{p}sst xmlns{ns}="{main}">{shared}</{p}sst>'
    if styles:
        parts["xl/styles.xml"] = f'<styleSheet xmlns="{main}">{styles}</styleSheet>'
    return parts


def inline(t, ref="", p=""):
    r = f' r="{ref}"' if ref else ""
    return f'<{p}c{r} t="inlineStr"><{p}is><{p}t xml:space="preserve">{t}</{p}t></{p}is></{p}c>' if t else ""


def letters(i):
    return chr(65 + i)


def sheet_of(rows, cell=None, start=1):
    out = "<sheetData>"
    for n, r in enumerate(rows, start):
        out += f'<row r="{n}">' + "".join((cell or (lambda t, ref, n, i: inline(t, ref)))(t, f"{letters(i)}{n}", n, i) for i, t in enumerate(r)) + "</row>"
    return out + "</sheetData>"


def packed_by_hand():
    # Strict OOXML: other namespaces, ISO dates in the cells.
    iso = lambda t, ref, n, i: f'<c r="{ref}" t="d"><v>{t}</v></c>' if n > 1 and i in DATES and t else inline(t, ref)
    book(package(sheet_of([HEAD] + ROWS, iso), main="http://purl.oclc.org/ooxml/spreadsheetml/main", rel="http://purl.oclc.org/ooxml/officeDocument/relationships", book_pr='<workbookPr dateCompatibility="false"/>'), "strict-ooxml.xlsx")
    # As WPS writes: rich text, phonetic runs, texts with control characters, dates in Chinese formats, a cell without a reference.
    texts, index = "", {}
    for t in [t for r in [HEAD] + ROWS for t in r if t]:
        if t not in index:
            index[t] = len(index)
            half = len(t) // 2
            if t == "姓名":
                texts += "<si><r><rPr><b/></rPr><t>姓</t></r><r><t>名</t></r><rPh sb=\"0\" eb=\"1\"><t>xing</t></rPh><phoneticPr fontId=\"1\"/></si>"
            elif t == "张三":
                texts += "<si><r><t xml:space=\"preserve\">张</t></r><r><rPr><color rgb=\"FFFF0000\"/></rPr><t>三_x000D_</t></r></si>"
            else:
                texts += f"<si><r><t>{t[:half]}</t></r><r><t>{t[half:]}</t></r></si>" if half and t[0] == "5" else f"<si><t>{t}</t></si>"
    serial = lambda d: (datetime.date.fromisoformat(d) - datetime.date(1899, 12, 30)).days
    wps = lambda t, ref, n, i: ("" if not t else f'<c r="{ref}" s="1"><v>{serial(t)}</v></c>' if n > 1 and i in DATES else f'<c t="s"><v>{index[t]}</v></c>' if n > 1 and i == 1 else f'<c r="{ref}" s="0" t="s"><v>{index[t]}</v></c>')
    book(package('<sheetPr><tabColor/></sheetPr><dimension ref="A1:XFD1048576"/>' + sheet_of([HEAD] + ROWS, wps), texts, '<numFmts count="1"><numFmt numFmtId="176" formatCode="[DBNum1][$-804]yyyy&quot;年&quot;m&quot;月&quot;d&quot;日&quot;;@"/></numFmts><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="176"/></cellXfs>'), "wps-like.xlsx")
    # As Excel writes: shared formulas with and without a value, array formulas, an error, a date function.
    def excel(t, ref, n, i):
        if n == 2 and i == 5:
            return f'<c r="{ref}" t="str"><f t="shared" ref="F2:F4" si="0">VLOOKUP(A2,Z:Z,1)</f><v>本科</v></c>'
        if n == 3 and i == 5:
            return f'<c r="{ref}" t="str"><f t="shared" si="0"/><v>本科</v></c>'
        if n == 4 and i == 5:
            return f'<c r="{ref}" t="e"><f t="shared" si="0"/><v>#N/A</v></c>'
        if n == 2 and i == 1:
            return f'<c r="{ref}" t="str"><f t="array" ref="B2">A2&amp;""</f><v>张三</v></c>'
        if n == 3 and i == 1:
            return f'<c r="{ref}"><f>INDIRECT("x")</f></c>'
        if n == 4 and i == 1:
            return f'<c r="{ref}" t="str"><f>[1]Sheet1!A1</f><v>王五</v></c>'
        return inline(t, ref)
    book(package(sheet_of([HEAD] + ROWS, excel)), "excel-shared-formulas.xlsx")
    # Cells in any order, rows without numbers, a prefix on every element.
    rows = "".join("<x:row>" + "".join(inline(t, f"{letters(i)}{n}", "x:") for i, t in reversed(list(enumerate(r)))) + "</x:row>" for n, r in enumerate([HEAD] + ROWS, 1))
    book(package(f"<x:sheetData>{rows}</x:sheetData>", prefix="x"), "prefixed-any-order.xlsx")
    book(package(sheet_of([HEAD] + ROWS, start=1048573)), "last-rows.xlsx")
    book(package(sheet_of([[""] * 3 + HEAD, [""] * 3 + ROWS[0], [""] * 3 + ROWS[1]], lambda t, ref, n, i: inline(t, ref))), "not-in-first-column.xlsx")
    book(package(sheet_of([HEAD] + ROWS), book_pr='<workbookProtection lockStructure="1"/>') | {"xl/vbaProject.bin": b"\xd0\xcf\x11\xe0"}, "protected-structure.xlsm")
    book(package(sheet_of([HEAD] + ROWS), shared="<si><t>x</t></si>"), "stored.xlsx", zipfile.ZIP_STORED)
    # To be refused.
    book(package(sheet_of([HEAD] + ROWS, lambda t, ref, n, i: f'<c r="{ref}" t="s"><v>99999</v></c>')), "text-index-out-of-range.xlsx")
    book(package("<sheetData>" + "<row/>" * 20_000_000 + "</sheetData>"), "zip-bomb.xlsx")
    book(package('<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>' + sheet_of([HEAD])), "entities-in-sheet.xlsx")
    book(package(sheet_of([HEAD])) | {"xl/../../../etc/passwd": "x"}, "path-up.xlsx")
    book(package(sheet_of([HEAD])) | {"C:\\Windows\\x.xml": "x"}, "path-drive.xlsx")
    book({"mimetype": "application/vnd.oasis.opendocument.spreadsheet", "content.xml": "<a/>"}, "ods-renamed.xlsx")
    book({"Index/Document.iwa": "x"}, "numbers-renamed.xlsx")


def other_writers():
    wb = pyexcelerate.Workbook()
    wb.new_sheet("名册", data=[HEAD] + ROWS)
    wb.save(path("pyexcelerate.xlsx"))
    wb = xlwt.Workbook(encoding="utf-8")
    ws = wb.add_sheet("名册")
    for n, r in enumerate([HEAD] + ROWS):
        for i, t in enumerate(r):
            ws.write(n, i, t)
    wb.save(path("xlwt.xls"))
    wb = openpyxl.Workbook()
    ws = wb.active
    for r in [HEAD] + ROWS:
        ws.append(r)
    ws.auto_filter.ref = "A1:J4"
    ws.protection.sheet = True
    ws.column_dimensions["C"].hidden = True
    ws.insert_rows(3)
    wb.create_chartsheet("图")
    copy = wb.create_sheet("上月")
    for r in [HEAD] + ROWS[:1]:
        copy.append(r)
    copy.sheet_state = "veryHidden"
    wb.save(path("openpyxl-filter-protected.xlsx"))
    frame = pandas.DataFrame(ROWS, columns=HEAD)
    wide = frame.copy()
    wide.columns = pandas.MultiIndex.from_tuples([("个人" if i < 5 else "工作", h) for i, h in enumerate(HEAD)])
    wide.to_excel(path("pandas-two-heads.xlsx"))
    typed = frame.copy()
    for i in DATES:
        typed[HEAD[i]] = pandas.to_datetime(typed[HEAD[i]]).dt.tz_localize("Asia/Shanghai")
    typed["性别"] = typed["性别"].astype("category")
    typed.to_parquet(path("pandas-zones-categories.parquet"), compression="brotli", index=True)
    typed.to_json(path("pandas-records.json"), orient="records", force_ascii=True, date_format="iso")
    frame.to_json(path("pandas-columns.json"), orient="columns", force_ascii=False)
    frame.to_json(path("pandas-table.json"), orient="table", force_ascii=False)
    frame.to_csv(path("pandas-index.csv"))
    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    pyarrow.parquet.write_table(table, path("pyarrow-lz4-v2.parquet"), compression="lz4", data_page_version="2.0", row_group_size=1)
    large = table.cast(pyarrow.schema([(h, pyarrow.large_string()) for h in HEAD]))
    pyarrow.feather.write_feather(large, path("feather-lz4.feather"), compression="lz4")
    try:
        views = table.cast(pyarrow.schema([(h, pyarrow.string_view()) for h in HEAD]))
        with pyarrow.ipc.new_stream(path("string-views.arrows"), views.schema) as w:
            w.write_table(views)
    except pyarrow.ArrowNotImplementedError:
        pass
    nested = table.append_column("附件", pyarrow.array([{"a": 1}] * 3))
    pyarrow.parquet.write_table(nested, path("nested-column.parquet"))


def texts():
    rows = [HEAD] + ROWS
    put("gb18030-bom.csv", b"\x84\x31\x95\x33" + text(rows).encode("gb18030"))
    put("gbk-crlf-tabs.txt", text(rows, "\t", "\r\n").encode("gbk"))
    put("utf16be.csv", b"\xfe\xff" + text(rows).encode("utf-16-be"))
    put("utf16-no-mark.csv", text(rows).encode("utf-16-le"))
    put("utf32.csv", text(rows).encode("utf-32"))
    put("big5.csv", text([HEAD] + [["119901198001153013", "張三"]]).encode("big5", "replace"))
    put("carriage-returns.csv", text(rows, end="\r").encode())
    put("pipes.csv", text(rows, "|").encode())
    put("sep-line.csv", b"sep=;\r\n" + text(rows, ";", "\r\n").encode())
    put("mark-only.csv", b"\xef\xbb\xbf")
    put("one-line.csv", text([HEAD]).encode().rstrip(b"\n"))
    put("blank-lines.csv", ("\n\n" + text(rows, end="\n\n\n") + ",,,,,,,,,\n \n").encode())
    put("late-header.csv", (text([["关于报送的说明", "", ""]] * 35 + rows)).encode())
    put("too-late-header.csv", (text([["关于报送的说明", "", ""]] * 45 + rows)).encode())
    put("ragged.csv", (text([HEAD]) + ",".join(ROWS[0]) + ",多出来的\n" + ",".join(ROWS[1][:9]) + "\n" + ",".join(ROWS[2]) + ",,,\n").encode())
    put("quotes.csv", ('"' + '","'.join(HEAD) + '"\n' + '"119901198001153013","张""三""","13800000001","男","1980-01-15","本科","01","52119900MJ0000018T","310115",""\n' + '319902198512310029,李"四,13800000002,女,1985-12-31,本科,01,52119900MJ0000018T,310115,2011-05-01\n').encode())
    put("apostrophes.csv", text([HEAD, ["'" + c if c else c for c in ROWS[0]]]).encode())
    put("no-header.csv", text(ROWS).encode())
    put("crossed.csv", text([[c] + [r[i] for r in ROWS] for i, c in enumerate(HEAD)]).encode())
    put("web-archive.xls", b"MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n<html><table><tr><td>1</td></tr></table></html>\r\n--x--\r\n")
    put("rich-text.rtf", b"{\\rtf1\\ansi\\deff0 {\\fonttbl {\\f0 Times;}} \\f0 text}")
    put("mark.json", b"\xef\xbb\xbf" + ('[{"公民身份号码":"119901198001153013"}]').encode())
    put("wrapped.json", ('{"total":1,"data":[{"公民身份号码":"119901198001153013","姓名":"张三"}]}').encode())
    put("single-quotes.json", "{'id_number':'119901198001153013'}".encode())
    put("nan.json", b'[{"id_number":NaN,"name":"x"}]')
    put("blank-lines.ndjson", ("\n" + "\n\n".join('{"id_number":"%s","name":"%s","sex":"%s","education_code":"%s","worker_category":"%s","employer_uscc":"%s","county_code":%s}' % (r[0], r[1], r[3], r[5], r[6], r[7], r[8]) for r in ROWS) + "\n").encode())


os.makedirs(OUT, exist_ok=True)
texts()
packed_by_hand()
other_writers()
libreoffice()
