package worklist

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPeople(t *testing.T) {
	f := func(want string, facts ...Fact) {
		t.Helper()
		p := NewPeople(facts).Params()
		require.Equal(t, want, strings.NewReplacer("'", "", "[", "", "]", "").Replace(p["alias_of_1"]+" as "+p["alias_is_1"]))
	}
	same := func(a, b string) Fact { return Fact{What: "same", A: a, B: b} }
	f("b as a", same("a", "b"))
	f("b as a", same("b", "a"))
	f("b,c,d as a,a,a", same("c", "d"), same("b", "c"), same("d", "a")) // over several steps
	f("b,c as a,a", same("a", "b"), same("b", "c"), same("c", "a"))     // round in a circle
	f("c,d as a,b", same("c", "a"), same("b", "d"))

	var nobody *People
	require.Nil(t, NewPeople(nil))
	require.False(t, nobody.Joins())
	require.Equal(t, "token", nobody.Person("token", "unit"))
	require.Empty(t, nobody.Ahead("person", "unit"))

	// A decision about the primary unit follows the person to the joined token.
	p := NewPeople([]Fact{{What: "keep", A: "b", Unit: "310000"}, same("a", "b"), {What: "split", A: "c", B: "c", Unit: "320000"}})
	require.Equal(t, "['a']", p.Params()["kept_of_1"])
	require.Equal(t, "['c320000']", p.Params()["split_of_1"])
	require.Len(t, p.Params()["split_is_1"], 64+4)
	// What one parameter cannot hold goes on in the next.
	var many []Fact
	for i := range most + 2 {
		many = append(many, same("a", fmt.Sprintf("b%04d", i)))
	}
	long := NewPeople(many)
	require.Equal(t, "['b1500','b1501']", long.Params()["alias_of_2"])
	require.Contains(t, long.Person("token", "unit"), "arrayConcat({alias_of_1:Array(String)}, {alias_of_2:Array(String)})")
	shown := Masked(p.Params())
	require.Equal(t, "(1)", shown["kept_of_1"])
	require.Equal(t, "(1)", shown["split_of_1"])
}

func TestEveryWordHasBothLanguages(t *testing.T) {
	for _, k := range Kinds {
		for _, text := range []Text{k.Text, k.Rule, k.Do} {
			require.NotEmpty(t, text.Zh, k.ID)
			require.NotEmpty(t, text.En, k.ID)
		}
		for _, d := range append(k.Decisions, Undo) {
			require.NotEmpty(t, DecisionText(d).Zh, d)
			require.NotEmpty(t, DecisionText(d).En, d)
		}
	}
	require.Equal(t, Text{"姓名不同、性别不同", "other name, other sex"}, Reason("name,sex"))
	require.Nil(t, KindOf("other"))
}
