package catalogue_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
)

// The dictionary that people read is made from the files that are computed.
func TestDictionary(t *testing.T) {
	const file = "../../../docs/indicators.md"
	c := load(t)
	got := dictionary(c)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "run go test ./charts/pkg/catalogue -update")
}

func dictionary(c *catalogue.Catalogue) string {
	var b strings.Builder
	b.WriteString("# 指标目录 Indicators\n\nMade from `charts/indicators`; do not edit. 由指标文件生成，请勿手改。\n\n")
	b.WriteString("Frame 三化: S 社会化 socialised, P 专业化 professional, V 职业化 vocational, G 规模与均衡 size and balance, Q 数据质量 quality of the data.\n\n")
	b.WriteString("| id | 名称 | name | 三化 | 单位 unit | 更新 update | 审批 approval |\n|---|---|---|---|---|---|---|\n")
	for _, in := range c.Indicators {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s | %s · %s | %s | %s, v%d |\n", in.ID, strings.ToLower(in.ID), in.Zh, in.En, in.Frame, in.Unit.Zh, in.Unit.En, in.Update, in.Approval, in.Version)
	}
	for _, in := range c.Indicators {
		fmt.Fprintf(&b, "\n## %s\n\n**%s** · %s\n\n%s\n\n%s\n\n", in.ID, in.Zh, in.En, in.Definition.Zh, in.Definition.En)
		row := func(zh, en string, t catalogue.Text) {
			if t.Zh != "" {
				fmt.Fprintf(&b, "- %s %s: %s · %s\n", zh, en, t.Zh, t.En)
			}
		}
		row("分子", "numerator", in.Numerator)
		row("分母", "denominator", in.Denominator)
		row("单位", "unit", in.Unit)
		fmt.Fprintf(&b, "- 方向 direction: %s · 粒度 grain: %s · 更新 update: %s\n", in.Direction, strings.Join(in.Grain, ", "), in.Update)
		var cats []string
		for _, code := range in.Categories {
			t, _ := c.Label("worker_category", code)
			cats = append(cats, fmt.Sprintf("%s %s", code, t.Zh))
		}
		if len(cats) > 0 {
			fmt.Fprintf(&b, "- 计入人员 categories counted: %s\n", strings.Join(cats, "、"))
		}
		if len(in.Dimensions) > 0 {
			fmt.Fprintf(&b, "- 分组 dimensions: %s\n", strings.Join(in.Dimensions, ", "))
		}
		for _, id := range in.Targets {
			t := c.Target(id)
			mark := ""
			if !t.Verified() {
				mark = "（未核实 unverified）"
			}
			fmt.Fprintf(&b, "- 目标 target %s: %v %s%s\n", t.ID, t.Value, t.Unit, mark)
		}
		fmt.Fprintf(&b, "- 依据的数据 feeds: %s\n", strings.Join(in.Feeds(), ", "))
		fmt.Fprintf(&b, "- 版本 version: %d, valid from %s, %s\n", in.Version, in.ValidFrom, in.Approval)
		row("来源", "source", in.Source)
		row("数据所缺", "what the feeds cannot give", in.State)
	}
	return b.String()
}
