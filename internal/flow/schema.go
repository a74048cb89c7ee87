package flow

import (
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/duiwu/duiwu/internal/feed"
)

// WireSchema is the schema of a batch as decoded: every field of spec.All() in
// order as nullable text (what the province wrote), then the record's position:
// _offset (int64) and _row (int32, from 0 inside its message). A value that is
// absent, JSON null or empty text is null.
func WireSchema(spec *feed.Spec) *arrow.Schema {
	all := spec.All()
	fields := make([]arrow.Field, 0, len(all)+2)
	for i := range all {
		fields = append(fields, arrow.Field{Name: all[i].Name, Type: arrow.BinaryTypes.String, Nullable: true})
	}
	fields = append(fields,
		arrow.Field{Name: feed.ColOffset, Type: arrow.PrimitiveTypes.Int64},
		arrow.Field{Name: feed.ColRow, Type: arrow.PrimitiveTypes.Int32})
	return arrow.NewSchema(fields, nil)
}

// TableSchema is the schema of a batch as written: exactly spec.Columns().
func TableSchema(spec *feed.Spec) *arrow.Schema {
	cols := spec.Columns()
	fields := make([]arrow.Field, len(cols))
	for i, c := range cols {
		fields[i] = arrow.Field{Name: c.Name, Type: StoreType(c.Store), Nullable: c.Nullable}
	}
	return arrow.NewSchema(fields, nil)
}

// StoreType is the Arrow type of a stored form.
func StoreType(s feed.Store) arrow.DataType {
	switch s {
	case feed.StoreText, feed.StoreCode:
		return arrow.BinaryTypes.String
	case feed.StoreCodes:
		return arrow.ListOfNonNullable(arrow.BinaryTypes.String)
	case feed.StoreDate:
		return arrow.FixedWidthTypes.Date32
	case feed.StoreTime:
		return arrow.FixedWidthTypes.Timestamp_ms
	case feed.StoreInt:
		return arrow.PrimitiveTypes.Int64
	case feed.StoreTenths:
		return &arrow.Decimal128Type{Precision: 9, Scale: 1}
	case feed.StoreBool:
		return arrow.FixedWidthTypes.Boolean
	case feed.StoreToken:
		return &arrow.FixedSizeBinaryType{ByteWidth: 32}
	case feed.StoreYear, feed.StoreInt32:
		return arrow.PrimitiveTypes.Int32
	case feed.StoreVersion:
		return &arrow.FixedSizeBinaryType{ByteWidth: 16}
	case feed.StoreByte:
		return arrow.PrimitiveTypes.Uint8
	}
	panic(fmt.Sprintf("BUG: no Arrow type for stored form %d", s))
}
