package exchange

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
)

// greeting reads what names the server.
func (c *receive) greeting() {
	c.FQDN = strings.TrimSuffix(c.o.text("Fqdn", "Domain"), ".")
	if invalid(c.Validate(), "FQDN") && !c.AuthMechanisms.Has(connector.ExchangeServer) {
		c.FQDN = ""
		c.o.note("Fqdn", "left out: not a domain name; the connector goes by the relay's own")
	}
	c.Banner = c.o.text("Banner")
	if invalid(c.Validate(), "Banner") {
		c.Banner = ""
		c.o.note("Banner", "left out: a banner is 220, a space and one line of ASCII")
	}
}

// invalid reports whether a connector's own check complains about a field.
func invalid(err error, field string) bool {
	list, ok := err.(interface{ Unwrap() []error })
	return ok && slices.ContainsFunc(list.Unwrap(), func(err error) bool {
		e, ok := errors.AsType[*postern.FieldError](err)
		return ok && e.Field == field
	})
}

// hostname returns the name of the server: with ExchangeServer a connector can
// go by no other. It takes the name from those connectors, which go by the
// relay's own.
func hostname(connectors []*receive) string {
	var own, any string
	for _, c := range connectors {
		switch {
		case c.Disabled || !strings.Contains(c.FQDN, "."):
		case c.AuthMechanisms.Has(connector.ExchangeServer):
			own = cmp.Or(own, c.FQDN)
		default:
			any = cmp.Or(any, c.FQDN)
		}
	}
	name := cmp.Or(own, any)
	for _, c := range connectors {
		if !c.AuthMechanisms.Has(connector.ExchangeServer) {
			continue
		}
		if c.FQDN != "" && !strings.EqualFold(c.FQDN, name) {
			c.o.note(
				"Fqdn", "left out: with ExchangeServer the connector goes by the relay's own name",
			)
		}
		c.FQDN = ""
	}
	return name
}

func (c *receive) keywords() {
	suppress := func(k string) { c.SuppressedKeywords = append(c.SuppressedKeywords, k) }
	for _, k := range []struct{ parameter, keyword string }{
		{"PipeliningEnabled", "PIPELINING"},
		{"EightBitMimeEnabled", "8BITMIME"},
		{"DeliveryStatusNotificationEnabled", "DSN"},
		{"EnhancedStatusCodesEnabled", "ENHANCEDSTATUSCODES"},
		{"SmtpUtf8Enabled", "SMTPUTF8"},
		{"ChunkingEnabled", "CHUNKING"},
	} {
		if on, ok := c.o.flag(k.parameter); ok && !on {
			suppress(k.keyword)
		}
	}
	// RFC 3030 section 3: BINARYMIME cannot be used without CHUNKING.
	if on, ok := c.o.flag("BinaryMimeEnabled"); ok && !on ||
		slices.Contains(c.SuppressedKeywords, "CHUNKING") {
		suppress("BINARYMIME")
	}
	switch size := c.o.choice(
		"SizeEnabled",
		map[string]string{"0": "Enabled", "1": "Disabled", "2": "EnabledWithoutValue"},
	); {
	case strings.EqualFold(size, "Disabled"):
		suppress("SIZE")
	case strings.EqualFold(size, "EnabledWithoutValue"):
		c.o.r.note(
			c.o.label, "SizeEnabled", size,
			"SIZE is offered with its value, and only ms-Exch-Bypass-Message-Size-Limit lifts "+
				"the limit",
		)
	}
}
