package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
)

// fault is what an administrator can do something about.
type fault struct{ id, zh, en string }

func findFault(err error) fault {
	var dns *net.DNSError
	text := err.Error()
	switch code := codeOf(err); {
	case errors.Is(err, errNoScope):
		return fault{"scope", "数据源未声明谁可以看哪些单位，因此谁都看不到：请在设置的“可见范围”中填写，例如 " + scopeExample + "。", "The datasource does not declare who may see which units, so nobody sees any; fill in its setting Scope, such as " + scopeExample + "."}
	case errors.As(err, &dns) || strings.Contains(text, "no such host"):
		return fault{"dns", "找不到服务器的名称：请检查地址中的主机名和 DNS。", "The server's name cannot be found; check the host in the address and DNS."}
	case strings.Contains(text, "x509: ") || strings.Contains(text, "tls: ") || strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return fault{"tls", "与服务器的加密连接不成立：请检查地址是 https 还是 http，并在设置中填写 CA 证书。", "The encrypted connection failed; check whether the address is https or http, and give the CA certificate in the settings."}
	case errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(text, "connection refused"):
		return fault{"refused", "服务器拒绝连接：请检查端口，并确认 ClickHouse 正在运行。", "The server refuses the connection; check the port and that ClickHouse is running."}
	case errors.Is(err, context.DeadlineExceeded) || code == codeTimeout || strings.Contains(text, "i/o timeout") || strings.Contains(text, "acquire conn timeout"):
		return fault{"timeout", "服务器没有及时答复：请检查网络和服务器负载。", "The server did not answer in time; check the network and the server's load."}
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fault{"broken", "连接中断：请检查网络、代理和服务器是否正在重启。", "The connection broke off; check the network and proxies, and whether the server is being started again."}
	case code == codeAuthFailed || code == codeUnknownUser || code == codeWrongPassword || code == codeRequiredPassword:
		return fault{"auth", "用户名或密码不对：请在数据源设置中更正。", "User or password is wrong; correct them in the datasource settings."}
	case code == codeAccessDenied:
		return fault{"denied", "该用户没有读取权限：请授予对数据库的 SELECT 权限。", "The user may not read; grant SELECT on the database."}
	case code == codeUnknownDatabase:
		return fault{"database", "数据库不存在：请检查数据库名称，或先运行 duiwu migrate。", "The database does not exist; check its name, or run duiwu migrate first."}
	case code == codeUnknownTable:
		return fault{"table", "缺少数据表：请先运行 duiwu migrate。", "A table is missing; run duiwu migrate first."}
	case code == codeUnknownColumn:
		return fault{"schema", "数据表比本插件旧：请运行 duiwu migrate 升级。", "The tables are older than this plugin; run duiwu migrate to upgrade them."}
	case code == codeTooManyRows:
		return fault{"limit", "查询超出服务器的限额：请缩小范围。", "The query exceeds the server's limits; narrow it."}
	}
	return fault{}
}

// minVersion is the oldest server whose answers were tested: it has query
// parameters of array types and applies row policies after FINAL.
var minVersion = [2]int{25, 12}

// CheckHealth says in one sentence, Chinese and English, what stands in the way.
func (d *Datasource) CheckHealth(ctx context.Context, _ *backend.CheckHealthRequest) (*backend.CheckHealthResult, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	version, err := d.check(ctx)
	if err == nil && d.config.Scope == nil {
		err = errNoScope
	}
	if err == nil {
		details, _ := json.Marshal(map[string]any{"server": version, "indicators": len(d.catalogue.Indicators), "today": d.Today().Format(time.DateOnly)})
		return &backend.CheckHealthResult{Status: backend.HealthStatusOk, JSONDetails: details,
			Message: fmt.Sprintf("连接正常，ClickHouse %s，%d 个指标可用。/ Connected to ClickHouse %s; %d indicators can be asked for.", version, len(d.catalogue.Indicators), version, len(d.catalogue.Indicators))}, nil
	}
	f := findFault(err)
	if f.id == "" {
		var ve versionError
		if errors.As(err, &ve) {
			f = fault{"version", "服务器版本过旧：" + string(ve) + "，至少需要 25.12。", "The server is too old: " + string(ve) + ", and 25.12 is the least."}
		} else {
			f = fault{"unknown", "数据库检查失败，详情见日志。", "The database check failed; the log has the details."}
		}
	}
	backend.Logger.FromContext(ctx).Error("cannot check the database", "fault", f.id, "error", err)
	details, _ := json.Marshal(map[string]string{"fault": f.id, "zh": f.zh, "en": f.en})
	return &backend.CheckHealthResult{Status: backend.HealthStatusError, Message: f.zh + "/ " + f.en, JSONDetails: details}, nil
}

type versionError string

func (v versionError) Error() string { return "server version " + string(v) + " is too old" }

func oldVersion(v string) bool {
	parts := strings.SplitN(v, ".", 3)
	if len(parts) < 2 {
		return true
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return err1 != nil || err2 != nil || major < minVersion[0] || major == minVersion[0] && minor < minVersion[1]
}

// check asks for the version, then reads nothing from every table that an
// indicator needs, columns included.
func (d *Datasource) check(ctx context.Context) (version string, err error) {
	if version, err = d.db.Version(ctx); err != nil {
		return "", err
	}
	if oldVersion(version) {
		return "", versionError(version)
	}
	for _, s := range d.catalogue.Contract.Feeds {
		var cols []string
		for _, c := range s.Columns() {
			if c.Current {
				cols = append(cols, c.Name)
			}
		}
		if err := d.db.Readable(ctx, s.CurrentTable(), cols); err != nil {
			return "", err
		}
	}
	return version, nil
}
