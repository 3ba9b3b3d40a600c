package connector

// TLSLevel is what a send connector asks of the next hop's TLS.
type TLSLevel uint8

const (
	TLSOpportunistic         TLSLevel = iota // STARTTLS when offered, no certificate check; plain otherwise
	TLSNone                                  // ignore STARTTLS
	TLSEncryptionOnly                        // TLS or no delivery; any certificate
	TLSCertificateValidation                 // the chain must verify
	TLSDomainValidation                      // and the name must match TLSDomain
)

// AddressSpace is a set of recipient domains with a cost: "*", "example.com" or "*.example.com".
type AddressSpace struct {
	Domain string
	Cost   int // 1 to 100. Defaults to 1.
}

// SendConnector says how mail leaves for an address space.
type SendConnector struct {
	Name          string
	AddressSpaces []AddressSpace
	// SmartHosts are host or host:port, IP addresses allowed. Empty means MX lookup.
	SmartHosts []string
	// Port is used where a smart host names none, and for MX delivery. Defaults to 25.
	Port      int
	TLS       TLSLevel
	TLSDomain string
	// ImplicitTLS speaks TLS from the first byte (port 465 smart hosts).
	ImplicitTLS bool
	// Username and Password log on to the smart host. Never sent without TLS unless AllowPlaintextAuth.
	Username, Password    string
	AllowPlaintextAuth    bool
	FQDN                  string // EHLO name. Defaults to the relay's host name.
	MaxMessageBytes       int64  // 0 means unlimited
	MaxConnections        int    // to this connector's next hop. Defaults to 20.
	MessagesPerConnection int    // Defaults to 100? see doc
	Disabled              bool
}

// SendSet chooses the send connector of a recipient (exchange.md section 12). Immutable.
type SendSet struct{}

// NewSendSet checks all send connectors. Errors as NewSet's.
func NewSendSet(list ...*SendConnector) (*SendSet, error) { panic("connector: NewSendSet") }

// Route is the choice for one recipient.
type Route struct {
	Connector *SendConnector
	Space     string // the address space that matched
}

// Select returns the connector for a recipient domain and a message of size
// bytes. ok is false when none matches; tooLarge tells that some matched but all are too small.
func (s *SendSet) Select(domain string, size int64) (r Route, ok, tooLarge bool) {
	panic("connector: Select")
}
