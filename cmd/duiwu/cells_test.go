package main

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"
)

// setCell writes a copy of a workbook with one cell of its first sheet changed.
func setCell(t *testing.T, from, to, cell, text string) {
	t.Helper()
	book, err := excelize.OpenFile(from)
	require.NoError(t, err)
	require.NoError(t, book.SetCellStr(book.GetSheetName(0), cell, text))
	require.NoError(t, book.SaveAs(to))
	require.NoError(t, book.Close())
}
