package gateway

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// principal is who asks, and for which units.
type principal struct {
	name  string // for the log
	units []string
}

func (p *principal) may(unit string) bool { return slices.Contains(p.units, unit) }

// CertificateRule says which unit a client's certificate speaks for.
type CertificateRule struct {
	from string
	re   *regexp.Regexp
}

// ParseCertificateRule reads PLACE=PATTERN: the place is subject.cn, subject.ou,
// subject.o, san.dns, san.uri or san.email, and {unit} in the pattern stands for
// the unit's six digits.
func ParseCertificateRule(s string) (*CertificateRule, error) {
	from, pattern, ok := strings.Cut(s, "=")
	before, after, one := strings.Cut(pattern, "{unit}")
	if !ok || !one || strings.Contains(after, "{unit}") {
		return nil, fmt.Errorf("cannot read the certificate rule %q: write it like subject.ou={unit} or san.uri=spiffe://example/unit/{unit}", s)
	}
	switch from {
	case "subject.cn", "subject.ou", "subject.o", "san.dns", "san.uri", "san.email":
	default:
		return nil, fmt.Errorf("cannot read the certificate rule %q: the place is subject.cn, subject.ou, subject.o, san.dns, san.uri or san.email", s)
	}
	return &CertificateRule{from: from, re: regexp.MustCompile("^" + regexp.QuoteMeta(before) + "([0-9]{6})" + regexp.QuoteMeta(after) + "$")}, nil
}

// unit finds the one unit of a certificate; two different ones are none.
func (c *CertificateRule) unit(cert *x509.Certificate) (string, bool) {
	var texts []string
	switch c.from {
	case "subject.cn":
		texts = []string{cert.Subject.CommonName}
	case "subject.ou":
		texts = cert.Subject.OrganizationalUnit
	case "subject.o":
		texts = cert.Subject.Organization
	case "san.dns":
		texts = cert.DNSNames
	case "san.email":
		texts = cert.EmailAddresses
	case "san.uri":
		for _, u := range cert.URIs {
			texts = append(texts, u.String())
		}
	}
	unit := ""
	for _, t := range texts {
		if m := c.re.FindStringSubmatch(t); m != nil {
			if unit != "" && unit != m[1] {
				return "", false
			}
			unit = m[1]
		}
	}
	return unit, unit != ""
}

// identify says who sent a request. Without a word about units nobody is
// anybody: the error is a 401 or a 403. With a token and a certificate both have
// to grant a unit.
func (g *Gateway) identify(r *http.Request) (*principal, error) {
	var cert *x509.Certificate
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		cert = r.TLS.PeerCertificates[0]
	}
	var granted []string
	name, known := "", false
	if cert != nil && g.opt.Certificates != nil {
		if unit, ok := g.opt.Certificates.unit(cert); ok {
			granted, name, known = []string{unit}, "certificate "+cert.SerialNumber.Text(16), true
		}
	}
	if raw, ok := bearer(r); ok {
		if g.opt.Tokens == nil {
			return nil, unauthorized("invalid_token", "本网关不接受令牌，请用证书登录。", "This gateway takes no tokens; sign in by certificate.")
		}
		subject, units, err := g.opt.Tokens.verify(r.Context(), raw, cert)
		var bad badToken
		if errors.As(err, &bad) {
			return nil, unauthorized("invalid_token", "令牌无效或已过期，请重新登录。", "The token does not count: "+string(bad)+".")
		}
		if err != nil {
			return nil, refuse(http.StatusServiceUnavailable, "issuer-unavailable", "暂时无法核对令牌，请稍后再试。", "Tokens cannot be checked right now; try again later.").because(err).retry(10)
		}
		if known {
			units = slices.DeleteFunc(units, func(u string) bool { return !slices.Contains(granted, u) })
		}
		granted, name, known = units, subject, true
	}
	if !known {
		return nil, unauthorized("", "请出示令牌（Authorization: Bearer …）或客户端证书。", "Show a token (Authorization: Bearer …) or a client certificate.")
	}
	p := &principal{name: name}
	for _, code := range granted {
		if u := g.opt.Catalogue.Unit(code); u != nil && (u.Reports || u.National()) && !p.may(code) {
			p.units = append(p.units, code)
		}
	}
	if len(p.units) == 0 {
		return nil, refuse(http.StatusForbidden, "no-unit", "您的令牌或证书没有授权任何报送单位，请联系管理员。", "Your token or certificate speaks for no reporting unit; ask the operator.")
	}
	slices.Sort(p.units)
	return p, nil
}

func bearer(r *http.Request) (string, bool) {
	h := r.Header.Values("Authorization")
	if len(h) == 0 {
		return "", false
	}
	scheme, token, _ := strings.Cut(h[0], " ")
	if len(h) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return "", true // present and of no use: refused, not passed over
	}
	return strings.TrimSpace(token), true
}

// challenge is a 401 with what WWW-Authenticate says of it.
type challenge struct {
	*problem
	code string
}

func (c *challenge) Unwrap() error { return c.problem }

func unauthorized(code, zh, en string) error {
	return &challenge{refuse(http.StatusUnauthorized, "unauthorized", zh, en), code}
}

func (c *challenge) header() string {
	if c.code == "" {
		return `Bearer realm="duiwu"`
	}
	return `Bearer realm="duiwu", error="` + c.code + `"`
}
