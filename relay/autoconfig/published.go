package autoconfig

import (
	"slices"
	"strings"

	"github.com/postern-mail/postern/connector"
)

// logsOn reports whether users are offered to log on inside TLS.
func logsOn(c *connector.Connector) bool {
	suppressed := func(keyword string) bool {
		return slices.ContainsFunc(c.SuppressedKeywords, func(k string) bool {
			return strings.EqualFold(k, keyword)
		})
	}
	return c.AuthMechanisms.Has(connector.BasicAuth|connector.TLS) && !suppressed("AUTH") &&
		(c.ImplicitTLS || !suppressed("STARTTLS"))
}

// everyUser reports whether any user who has logged on may send.
func everyUser(c *connector.Connector) bool {
	return c.Rights(connector.Subject{Authenticated: true, TLS: true}).Has(connector.Submit)
}
