package simtest

// Fault is a kind of fault.
type Fault string

// The kinds of faults that a [World] makes.
const (
	PeerStalls    Fault = "peer stalls"
	PeerCuts      Fault = "peer cuts"
	PeerLies      Fault = "peer lies"
	PeerLimits    Fault = "peer limits"
	PeerDefers    Fault = "peer defers"
	PeerRefuses   Fault = "peer refuses"
	PeerGreylists Fault = "peer greylists"
	HostSlows     Fault = "host limits the rate"
	HostBlocks    Fault = "host blocks the relay"
	HostDoubts    Fault = "host doubts the sender"
	NetworkCuts   Fault = "network cuts"
	NetworkStops  Fault = "network stops"
	DNSErrs       Fault = "DNS errs"
	TLSChanges    Fault = "TLS goes on and off"
	MailboxFails  Fault = "mailbox fails"
	Poison        Fault = "message crashes the mailboxes"
	ClientLeaves  Fault = "client leaves"
	DiskFails     Fault = "disk fails"
	DiskScarce    Fault = "disk lacks descriptors"
	DiskFull      Fault = "disk is full"
	DiskForgets   Fault = "disk forgets what was not synced"
	ProcessDies   Fault = "process dies"
	ProcessStops  Fault = "process stops for a while"
	StoreCut      Fault = "store is out of reach"
	Restart       Fault = "restart"
	Reload        Fault = "reload"
	ClockSteps    Fault = "wall clock steps"
)

// faults lists every kind.
func faults() []Fault {
	return []Fault{
		PeerStalls, PeerCuts, PeerLies, PeerLimits, PeerDefers, PeerRefuses, PeerGreylists,
		HostSlows, HostBlocks, HostDoubts, Poison, NetworkCuts,
		NetworkStops, DNSErrs, TLSChanges, MailboxFails, ClientLeaves, DiskFails, DiskScarce,
		DiskFull, DiskForgets, ProcessDies, ProcessStops, StoreCut,
		Restart, Reload, ClockSteps,
	}
}
