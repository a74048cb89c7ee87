package sink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/duiwu/duiwu/internal/flow"
)

// ErrFenced ends an assignment whose partition somebody else claimed.
var ErrFenced = flow.ErrFenced

// ServerError is what ClickHouse answered. It carries the server's code and our
// own words; the server's text may quote a row's values and is dropped.
type ServerError struct {
	// Code is ClickHouse's error code, 0 when the answer had none.
	Code int
	// Status is the HTTP status, 0 when it is not known.
	Status int
}

func (e *ServerError) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("the server answered HTTP %d without a ClickHouse error code: %s", e.Status, statusSays(e.Status))
	}
	t := trouble(e.Code)
	return fmt.Sprintf("ClickHouse error %d %s: %s", e.Code, t.name, t.says)
}

// Retriable says whether the same request may succeed later without anybody's help.
func (e *ServerError) Retriable() bool {
	if e.Code != 0 {
		return trouble(e.Code).retry
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusMovedPermanently, http.StatusFound, http.StatusPermanentRedirect:
		return false
	}
	return true
}

// cause is why a partition stops for the error.
func (e *ServerError) cause() flow.Cause {
	switch e.Code {
	case 164, 192, 193, 194, 195, 291, 452, 472, 497, 516, 720:
		return flow.CauseAccess
	case 0:
		if e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden {
			return flow.CauseAccess
		}
		return flow.CauseOther
	}
	return flow.CauseSchema
}

func statusSays(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "user or password is refused on the way; check the DSN"
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusMovedPermanently, http.StatusFound, http.StatusPermanentRedirect:
		return "this is not ClickHouse's HTTP port; check the DSN"
	}
	return "a proxy or the server is busy; it is tried again"
}

type troubleInfo struct {
	name  string
	retry bool
	// says is one line for the operator.
	says string
}

const unlisted = "this error is not in our table; it is tried again, see the server's log by the query id"

func trouble(code int) troubleInfo {
	if t, ok := troubles[code]; ok {
		return t
	}
	return troubleInfo{"UNLISTED", true, unlisted}
}

// troubles is the one table of what a ClickHouse error does to a partition:
// tried again until it works, or stopped until an operator comes. Neither ever
// skips a row. A code that is not here is tried again.
var troubles = map[int]troubleInfo{
	// Nobody's help is needed, only time.
	3:   {"UNEXPECTED_END_OF_FILE", true, "the request broke off; it is tried again"},
	23:  {"CANNOT_READ_FROM_ISTREAM", true, "the request broke off; it is tried again"},
	24:  {"CANNOT_WRITE_TO_OSTREAM", true, "the server could not write; check its disk"},
	32:  {"ATTEMPT_TO_READ_AFTER_EOF", true, "the request broke off; it is tried again"},
	33:  {"CANNOT_READ_ALL_DATA", true, "the request broke off; it is tried again"},
	74:  {"CANNOT_READ_FROM_FILE_DESCRIPTOR", true, "the server could not read its disk; check it"},
	75:  {"CANNOT_WRITE_TO_FILE_DESCRIPTOR", true, "the server could not write its disk; check it"},
	76:  {"CANNOT_OPEN_FILE", true, "the server could not open a file; check its disk and file limits"},
	95:  {"CANNOT_READ_FROM_SOCKET", true, "the connection broke; it is tried again"},
	159: {"TIMEOUT_EXCEEDED", true, "the server was too slow; look at its load"},
	160: {"TOO_SLOW", true, "the server was too slow; look at its load"},
	173: {"CANNOT_ALLOCATE_MEMORY", true, "the server is out of memory; give it more or fewer workers"},
	201: {"QUOTA_EXCEEDED", true, "the user's quota is used up; raise it or wait"},
	202: {"TOO_MANY_SIMULTANEOUS_QUERIES", true, "too many queries at once; raise max_concurrent_queries or run fewer workers"},
	203: {"NO_FREE_CONNECTION", true, "the server has no free connection; look at its load"},
	209: {"SOCKET_TIMEOUT", true, "the connection timed out; it is tried again"},
	210: {"NETWORK_ERROR", true, "the network failed; it is tried again"},
	236: {"ABORTED", true, "the server is stopping; it is tried again"},
	241: {"MEMORY_LIMIT_EXCEEDED", true, "the memory limit is reached; give the server more, or make cuts smaller"},
	242: {"TABLE_IS_READ_ONLY", true, "the replicated table is read-only; check Keeper"},
	243: {"NOT_ENOUGH_SPACE", true, "the server's disk is full; free space or enlarge it, nothing is lost"},
	252: {"TOO_MANY_PARTS", true, "merges are behind; make cuts larger or give the server more disk and CPU"},
	254: {"NO_ACTIVE_REPLICAS", true, "no replica is active; check the cluster"},
	279: {"ALL_CONNECTION_TRIES_FAILED", true, "the server cannot reach its peers; check the cluster"},
	285: {"TOO_FEW_LIVE_REPLICAS", true, "the insert quorum cannot be met; check the replicas"},
	286: {"UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE", true, "an earlier quorum write is unfinished; check the replicas"},
	289: {"REPLICA_IS_NOT_IN_QUORUM", true, "the replica is behind; check the replicas"},
	290: {"LIMIT_EXCEEDED", true, "a limit of the server is reached; look at its settings"},
	319: {"UNKNOWN_STATUS_OF_INSERT", true, "the server does not know whether the insert stood; writing it again is safe"},
	341: {"UNFINISHED", true, "an alteration is still running; it is tried again"},
	373: {"SESSION_IS_LOCKED", true, "the session is in use; it is tried again"},
	384: {"PART_IS_TEMPORARILY_LOCKED", true, "a part is locked; it is tried again"},
	394: {"QUERY_WAS_CANCELLED", true, "somebody ended the query; it is tried again"},
	425: {"SYSTEM_ERROR", true, "the server's system call failed; see its log"},
	439: {"CANNOT_SCHEDULE_TASK", true, "the server has no free thread; look at its load"},
	473: {"DEADLOCK_AVOIDED", true, "the table was locked; it is tried again"},
	499: {"S3_ERROR", true, "the object store failed; check it"},
	517: {"CANNOT_ASSIGN_ALTER", true, "another alteration is running; it is tried again"},
	225: {"NO_ZOOKEEPER", true, "the server has no connection to Keeper; check it"},
	265: {"NO_AVAILABLE_REPLICA", true, "no replica is available; check the cluster"},
	369: {"ALL_REPLICAS_ARE_STALE", true, "all replicas are stale; check the cluster"},
	415: {"ALL_REPLICAS_LOST", true, "all replicas are lost; check the cluster"},
	574: {"DISTRIBUTED_TOO_MANY_PENDING_BYTES", true, "the distributed table cannot pass its rows on; check the shards"},
	733: {"TABLE_IS_BEING_RESTARTED", true, "the table is being restarted; it is tried again"},
	735: {"QUERY_WAS_CANCELLED_BY_CLIENT", true, "the request broke off; it is tried again"},
	745: {"SERVER_OVERLOADED", true, "the server has too much to do; look at its load"},
	774: {"TABLE_IS_PERMANENTLY_READ_ONLY", true, "the table takes no rows; look at its setting table_readonly and at its disk"},
	999: {"KEEPER_EXCEPTION", true, "Keeper failed; check it"},

	// An operator has to act.
	6:   {"CANNOT_PARSE_TEXT", false, "the server could not read what we sent; server and duiwu do not fit, see `duiwu doctor`"},
	8:   {"THERE_IS_NO_COLUMN", false, "a column that the table wants was not sent; run `duiwu migrate`"},
	10:  {"NOT_FOUND_COLUMN_IN_BLOCK", false, "a column is missing; run `duiwu migrate`"},
	16:  {"NO_SUCH_COLUMN_IN_TABLE", false, "the table lacks a column; run `duiwu migrate`"},
	20:  {"NUMBER_OF_COLUMNS_DOESNT_MATCH", false, "the table has other columns; run `duiwu migrate`"},
	27:  {"CANNOT_PARSE_INPUT_ASSERTION_FAILED", false, "the server could not read what we sent; server and duiwu do not fit, see `duiwu doctor`"},
	36:  {"BAD_ARGUMENTS", false, "this version of the server does not take our statement; upgrade it"},
	43:  {"ILLEGAL_TYPE_OF_ARGUMENT", false, "a column has another type than we think; run `duiwu migrate`"},
	44:  {"ILLEGAL_COLUMN", false, "a column cannot stand there; run `duiwu migrate`"},
	46:  {"UNKNOWN_FUNCTION", false, "this version of the server lacks a function we use; upgrade it"},
	47:  {"UNKNOWN_IDENTIFIER", false, "a column is missing; run `duiwu migrate`"},
	48:  {"NOT_IMPLEMENTED", false, "this version of the server cannot do what we ask; upgrade it"},
	50:  {"UNKNOWN_TYPE", false, "this version of the server does not know a type we use; upgrade it"},
	53:  {"TYPE_MISMATCH", false, "a column has another type than we think; run `duiwu migrate`"},
	57:  {"TABLE_ALREADY_EXISTS", false, "another table has this name; choose another database"},
	60:  {"UNKNOWN_TABLE", false, "a table is missing; run `duiwu migrate`"},
	62:  {"SYNTAX_ERROR", false, "this version of the server does not take our statement; upgrade it"},
	70:  {"CANNOT_CONVERT_TYPE", false, "a column has another type than we think; run `duiwu migrate`"},
	73:  {"UNKNOWN_FORMAT", false, "the server lacks the ArrowStream format; use a full build of ClickHouse"},
	80:  {"INCORRECT_QUERY", false, "this version of the server does not take our statement; upgrade it"},
	81:  {"UNKNOWN_DATABASE", false, "the database is missing; create it and run `duiwu migrate`"},
	115: {"UNKNOWN_SETTING", false, "this version of the server lacks a setting we use; upgrade it"},
	117: {"INCORRECT_DATA", false, "the server could not read what we sent; server and duiwu do not fit, see `duiwu doctor`"},
	122: {"INCOMPATIBLE_COLUMNS", false, "the tables do not fit each other; run `duiwu migrate`"},
	164: {"READONLY", false, "the user may only read; give it INSERT, or use another user"},
	192: {"UNKNOWN_USER", false, "the user does not exist; check the DSN"},
	193: {"WRONG_PASSWORD", false, "the password is wrong; check the DSN"},
	194: {"REQUIRED_PASSWORD", false, "a password is needed; check the DSN"},
	195: {"IP_ADDRESS_NOT_ALLOWED", false, "the server does not let this address in; allow it"},
	218: {"TABLE_IS_DROPPED", false, "a table was dropped; run `duiwu migrate`"},
	291: {"DATABASE_ACCESS_DENIED", false, "the user may not use the database; grant it"},
	349: {"CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN", false, "BUG: a required column held no value; report it"},
	352: {"AMBIGUOUS_COLUMN_NAME", false, "two columns share a name; run `duiwu migrate`"},
	452: {"SETTING_CONSTRAINT_VIOLATION", false, "the user's profile forbids a setting we need; loosen it"},
	469: {"VIOLATED_CONSTRAINT", false, "the tables were re-keyed and take rows of other token keys: give this process the present key file (`duiwu keys rotate`); or somebody put a constraint on the table: drop it"},
	472: {"READONLY_SETTING", false, "the user's profile forbids a setting we need; loosen it"},
	497: {"ACCESS_DENIED", false, "the user lacks a grant; see the list in docs/operations.md"},
	516: {"AUTHENTICATION_FAILED", false, "user or password is wrong; check the DSN"},
	720: {"USER_EXPIRED", false, "the user has expired; renew it, or use another user"},
}

// serverError turns what a driver or a response says into words of our own:
// permanent where an operator is needed. A nil stays nil.
func serverError(err error) error {
	if err == nil {
		return nil
	}
	// A transport's error may quote the URL, and the URL the statement.
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if errors.Is(err, ErrFenced) || flow.IsPermanent(err) {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the server did not answer in time: %w", err)
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	var own *ServerError
	if !errors.As(err, &own) {
		var ex *clickhouse.Exception
		if errors.As(err, &ex) {
			own = &ServerError{Code: int(ex.Code)}
			err = own
		}
	}
	if own != nil {
		if own.Retriable() {
			return err
		}
		return flow.PermanentFor(own.cause(), err)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return fmt.Errorf("the server cannot be reached: %w", err)
	}
	return err
}

// responseError reads a failed response's headers; its body is never kept.
func responseError(r *http.Response) error {
	code, _ := strconv.Atoi(r.Header.Get("X-ClickHouse-Exception-Code"))
	if code == 0 && r.StatusCode < 300 {
		return nil
	}
	return serverError(&ServerError{Code: code, Status: r.StatusCode})
}

// isSchemaTrouble says whether an error may come from a table that changed
// under us, so that it has to be compared anew.
func isSchemaTrouble(err error) bool {
	var e *ServerError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case 8, 10, 16, 20, 36, 43, 44, 47, 53, 60, 70, 117, 122, 349:
		return true
	}
	return false
}
