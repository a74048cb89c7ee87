package sink

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/testenv"
)

// TestOnACluster runs what holds on one server once more on two shards, each
// request on another of them.
func TestOnACluster(t *testing.T) {
	c, err := engine.StartCluster(t.Context(), engine.Options{Lib: testenv.LibCHDB(t), Dir: t.TempDir()}, 2)
	require.NoError(t, err)
	shards = c
	t.Cleanup(func() {
		shards = nil
		_ = c.Stop(context.WithoutCancel(t.Context())) // see testenv.Main
	})
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"MigrateTwiceChangesNothing", TestMigrateTwiceChangesNothing},
		{"MigrateByTwoAtOnce", TestMigrateByTwoAtOnce},
		{"MigrateAddsAColumn", TestMigrateAddsAColumnAndFillsWhatBecameCurrent},
		{"Dimensions", TestDimensionsHoldTheCatalogue},
		{"EveryFeed", TestEveryFeedGoesInAndIsReadBack},
		{"Contract", TestContract},
		{"LedgerEffective", TestLedgerEffective},
		{"TwoClaims", TestTwoClaimsAtOnceEndWithDifferentEpochs},
		{"SkipAndNewIncarnation", TestSkipAndNewIncarnation},
		{"Fenced", TestCutsThatAreWrittenTogetherAreFencedOneByOne},
		{"NewestAndStored", TestNewestAndStoredSeeTheLedgerOnly},
		{"Receipts", TestReceipts},
		{"ReceiptListsWhatWasRefused", TestReceiptListsWhatWasRefused},
		{"Replay", TestAReplayCountsFromItsLedgerRowOn},
		{"ReplayTakenBack", TestAReplayIsTakenBackWithItsCut},
		{"RefusedAgain", TestRefusedAgain},
		{"Scratch", TestScratch},
		{"Worklist", TestWorklist},
	} {
		t.Run(test.name, test.run)
	}
}
