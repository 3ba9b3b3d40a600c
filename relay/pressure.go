package relay

import (
	"fmt"
	"slices"
)

// Pressure says when the relay is short of something and takes less mail.
//
// At medium pressure strangers are refused: anonymous clients without the right
// to relay. At high pressure everybody is, Submit included. The reply is 452
// 4.3.1, so that clients try again. The level goes down again only when the
// value has fallen a tenth below the threshold, so that it does not flap.
//
// Each threshold that is 0 has its default; a negative one is off. Where
// Exchange counts percentages of a disk, free bytes are counted here: one per
// cent of a modern disk holds a million messages.
type Pressure struct {
	// QueueMedium and QueueHigh are numbers of deliveries in the queue. They
	// default to 500,000 and 1,000,000.
	QueueMedium, QueueHigh int64
	// MemoryMedium and MemoryHigh are bytes of the process's Go memory. They
	// default to nine tenths and nineteen twentieths of GOMEMLIMIT, without
	// which they are off.
	MemoryMedium, MemoryHigh int64
	// DiskMedium and DiskHigh are bytes free on the spool's disk, if the spool
	// can tell. They default to 256 MiB and 128 MiB.
	DiskMedium, DiskHigh int64
	// Receiving is how many bytes of memory the messages being received may
	// take up, all together. Each counts 64 KiB, its content between 16 and 128
	// KiB, and, as long as a quarter of all is left to others, its recipients
	// beyond 20 and sixteen times its header beyond 8 KiB. Further ones are
	// refused, whoever sends them. Defaults to 256 MiB.
	Receiving int64
}

// PressureLevel is a level of pressure.
type PressureLevel uint8

// The levels.
const (
	NormalPressure PressureLevel = iota
	MediumPressure
	HighPressure
)

var levelNames = [...]string{"normal", "medium", "high"}

// String returns normal, medium or high.
func (l PressureLevel) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("PressureLevel(%d)", uint8(l))
}

// MarshalText returns what String does.
func (l PressureLevel) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads normal, medium or high.
func (l *PressureLevel) UnmarshalText(b []byte) error {
	i := slices.Index(levelNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("relay: unknown level of pressure %q", b)
	}
	*l = PressureLevel(i)
	return nil
}

// Load is what the relay's resources looked like when they were last looked at,
// at most two seconds ago while mail comes in.
type Load struct {
	// Level is the highest of the levels of Queue, Memory and Disk.
	Level PressureLevel
	// Queue counts deliveries, Memory the bytes of Go memory in use, Disk the
	// free bytes; -1 is unknown.
	Queue, Memory, Disk                int64
	QueueLevel, MemoryLevel, DiskLevel PressureLevel
}

// check reports thresholds that are upside down.
func (p Pressure) check(f *faults) {
	for _, v := range []struct {
		field, other string
		first, then  int64 // of what grows
	}{
		{"QueueMedium", "QueueHigh", p.QueueMedium, p.QueueHigh},
		{"MemoryMedium", "MemoryHigh", p.MemoryMedium, p.MemoryHigh},
		{"DiskHigh", "DiskMedium", p.DiskHigh, p.DiskMedium},
	} {
		if v.first > 0 && v.then > 0 && v.first > v.then {
			f.addf("Pressure."+v.field, "%d is above %s, which is %d", v.first, v.other, v.then)
		}
	}
}
