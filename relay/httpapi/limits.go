package httpapi

const (
	maxDepth       = 3    // the message, its attachments, one of them
	maxOther       = 1000 // values beside recipients: more than all other limits allow
	maxAddress     = 1000
	maxReplyTo     = 25
	maxDisplayName = 256
	maxSubject     = 2000
	maxHeaders     = 64
	maxHeaderName  = 76
	maxHeaderValue = 8192
	maxAttachments = 100
	maxFileName    = 255
	maxMediaType   = 255
	maxLabels      = 16
	maxLabelName   = 64
	maxLabelValue  = 256
	maxAllLabels   = 1 << 10 // the relay's own bound
	maxFaults      = 20
	// maxWord keeps lines that cannot be folded under the 998 octets of RFC
	// 5322 section 2.1.1.
	maxWord = 900
)

const (
	defaultJSONBytes = 36 << 20
	defaultBuffered  = 256 << 20
	maxKey           = 255
	maxStream        = 64
	maxQuery         = 256 << 10
)
