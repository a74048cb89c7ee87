package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/duiwu/duiwu/ingest/sheet"
)

// problem is a refusal as RFC 9457 writes it. title and detail are in the
// language that the caller asked for, Chinese without one; both languages always
// stand in message_zh and message_en. It never holds a value of a record.
type problem struct {
	status int
	// slug is the last part of the type, urn:duiwu:problem:<slug>. It is stable.
	slug   string
	zh, en string
	// after is Retry-After in seconds, 0 for none.
	after int
	// err is for the log alone.
	err error
}

func (p *problem) Error() string {
	if p.err != nil {
		return p.slug + ": " + p.err.Error()
	}
	return p.slug
}

func (p *problem) Unwrap() error { return p.err }

func refuse(status int, slug, zh, en string) *problem {
	return &problem{status: status, slug: slug, zh: zh, en: en}
}

func (p *problem) because(err error) *problem {
	p.err = err
	return p
}

func (p *problem) retry(seconds int) *problem {
	p.after = seconds
	return p
}

// notFound is the one answer for what is not there and for what belongs to
// somebody else: a unit, a feed, a batch. Whoever asks learns nothing from it.
func notFound() *problem {
	return refuse(http.StatusNotFound, "not-found",
		"没有这个报送单位、数据类别或批次，或者它不在您的权限之内。",
		"There is no such unit, feed or batch, or it is not yours to see.")
}

// databaseAway says that what became of a batch cannot be told now. Sending
// goes on without the database.
func databaseAway(err error) *problem {
	return refuse(http.StatusServiceUnavailable, "database-unavailable",
		"暂时查不到入库情况，请稍后再查；已收下的数据不受影响。",
		"What was stored cannot be read right now; ask again later. What was taken in is safe.").because(err).retry(10)
}

func unusable(u *sheet.Unusable) *problem {
	return refuse(http.StatusUnprocessableEntity, "file-unusable", u.Zh, u.En).because(u.Err)
}

var titles = map[int][2]string{
	http.StatusBadRequest:            {"请求有误", "Bad request"},
	http.StatusUnauthorized:          {"需要登录", "Sign-in needed"},
	http.StatusForbidden:             {"不允许", "Not allowed"},
	http.StatusNotFound:              {"没有找到", "Not found"},
	http.StatusMethodNotAllowed:      {"方法不对", "Method not allowed"},
	http.StatusRequestTimeout:        {"上传太慢", "Too slow"},
	http.StatusConflict:              {"批次冲突", "Batch conflict"},
	http.StatusRequestEntityTooLarge: {"文件太大", "Too large"},
	http.StatusUnsupportedMediaType:  {"格式不支持", "Format not supported"},
	http.StatusUnprocessableEntity:   {"文件不能用", "File not usable"},
	http.StatusTooManyRequests:       {"请求太多", "Too many requests"},
	http.StatusInternalServerError:   {"内部错误", "Internal error"},
	http.StatusServiceUnavailable:    {"暂时不可用", "Unavailable for now"},
	http.StatusInsufficientStorage:   {"存储空间不足", "Out of storage"},
}

// chinese says whether a caller is answered in Chinese: unless English is
// preferred, which is all that the two languages need of Accept-Language.
func chinese(r *http.Request) bool {
	first, _, _ := strings.Cut(r.Header.Get("Accept-Language"), ",")
	return !strings.HasPrefix(strings.ToLower(strings.TrimSpace(first)), "en")
}

func (p *problem) write(w http.ResponseWriter, r *http.Request, requestID string) {
	t, lang, detail, n := titles[p.status], "en", p.en, 1
	if chinese(r) {
		lang, detail, n = "zh-Hans", p.zh, 0
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Language", lang)
	if p.after > 0 {
		h.Set("Retry-After", fmt.Sprint(p.after))
	}
	w.WriteHeader(p.status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(struct { // whoever hung up needs no answer
		Type      string `json:"type"`
		Title     string `json:"title"`
		Status    int    `json:"status"`
		Detail    string `json:"detail"`
		Instance  string `json:"instance"`
		MessageZh string `json:"message_zh"`
		MessageEn string `json:"message_en"`
	}{"urn:duiwu:problem:" + p.slug, t[n], p.status, detail, "urn:uuid:" + requestID, p.zh, p.en})
}

// asProblem turns any error into an answer; what is unknown is the machine's.
func asProblem(err error) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	var u *sheet.Unusable
	if errors.As(err, &u) {
		return unusable(u)
	}
	return refuse(http.StatusInternalServerError, "internal",
		"系统内部出错，请把 instance 编号告诉管理员。", "Something broke inside; tell the operator the number in instance.").because(err)
}
