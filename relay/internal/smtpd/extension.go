package smtpd

import "strings"

// extensions are the ESMTP keywords that a session may use.
type extensions uint16

const (
	extSize extensions = 1 << iota
	extPipelining
	extDSN
	extEnhanced
	extStartTLS
	extAuth
	ext8Bit
	extBinary
	extChunking
	extUTF8
	extLimits
	extXClient
)

// keywords are in the order in which EHLO shows them.
func keywords() [12]string {
	return [...]string{"SIZE", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "STARTTLS", "AUTH",
		"8BITMIME", "BINARYMIME", "CHUNKING", "SMTPUTF8", "LIMITS", "XCLIENT"}
}

// supported returns every extension but those suppressed.
func supported(suppressed []string) extensions {
	e := extensions(1<<12 - 1)
	for _, s := range suppressed {
		for i, k := range keywords() {
			if strings.EqualFold(s, k) {
				e &^= 1 << i
			}
		}
	}
	return e
}
