package codec

// The range of timestamps: what RFC 3339 can write, years 0000 to 9999, in
// milliseconds.
const (
	MinTime = -62167219200000
	MaxTime = 253402300799999
)

const msPerDay = 24 * 60 * 60 * 1000

// parseTime reads an RFC 3339 timestamp as milliseconds. Digits beyond
// milliseconds are dropped. why is "" if it is one.
func parseTime(b []byte) (ms int64, why string) {
	const form = "not an RFC 3339 timestamp such as 2013-01-31T18:30:00Z"
	if len(b) < len("2006-01-02T15:04:05Z") || b[4] != '-' || b[7] != '-' || b[10]|0x20 != 't' || b[13] != ':' || b[16] != ':' {
		return 0, form
	}
	year, month, day := two(b, 0)*100+two(b, 2), two(b, 5), two(b, 8)
	hour, minute, second := two(b, 11), two(b, 14), two(b, 17)
	if two(b, 0) < 0 || two(b, 2) < 0 || month < 0 || day < 0 || hour < 0 || minute < 0 || second < 0 {
		return 0, form
	}
	if month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return 0, "no such date"
	}
	if hour > 23 || minute > 59 || second > 59 {
		return 0, "no such time of day"
	}
	i := 19
	millis := 0
	if b[i] == '.' {
		i++
		first := i
		for unit := 100; i < len(b) && b[i]-'0' <= 9; i++ {
			millis += int(b[i]-'0') * unit
			unit /= 10
		}
		if i == first {
			return 0, form
		}
	}
	offset := 0
	switch {
	case i+1 == len(b) && b[i]|0x20 == 'z':
	case i+6 == len(b) && (b[i] == '+' || b[i] == '-') && b[i+3] == ':':
		h, m := two(b, i+1), two(b, i+4)
		if h < 0 || m < 0 {
			return 0, form
		}
		if h > 23 || m > 59 {
			return 0, "no such time zone offset"
		}
		if offset = h*60 + m; b[i] == '-' {
			offset = -offset
		}
	default:
		return 0, form
	}
	ms = daysFromCivil(year, month, day)*msPerDay + int64(((hour*60+minute-offset)*60+second)*1000+millis)
	if ms < MinTime || ms > MaxTime {
		return 0, "outside of the years 0000 to 9999"
	}
	return ms, ""
}

// two reads two digits, -1 if they are not.
func two(b []byte, i int) int {
	if h, l := b[i]-'0', b[i+1]-'0'; h <= 9 && l <= 9 {
		return int(h)*10 + int(l)
	}
	return -1
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysFromCivil counts days since 1970-01-01 in the proleptic Gregorian
// calendar. Years start in March, so that the leap day comes last.
func daysFromCivil(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	year += 400 // never negative, and the calendar repeats after 400 years
	days := 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1
	return int64(days) - 146097 - 719468
}

// civilFromDays is the inverse of [daysFromCivil].
func civilFromDays(days int64) (year, month, day int) {
	d := days + 719468 + 146097
	cycle := d / 146097
	d %= 146097
	y := (d - d/1460 + d/36524 - d/146096) / 365
	d -= 365*y + y/4 - y/100
	m := (5*d + 2) / 153
	day = int(d-(153*m+2)/5) + 1
	year, month = int(y+cycle*400)-400, int(m)+3
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}

// appendTime writes milliseconds, from MinTime to MaxTime, as RFC 3339 in UTC.
func appendTime(dst []byte, ms int64) []byte {
	days := ms / msPerDay
	ms %= msPerDay
	if ms < 0 {
		ms += msPerDay
		days--
	}
	year, month, day := civilFromDays(days)
	t := int(ms)
	dst = appendTwo(appendTwo(dst, year/100), year%100)
	dst = appendTwo(append(dst, '-'), month)
	dst = appendTwo(append(dst, '-'), day)
	dst = appendTwo(append(dst, 'T'), t/3600000)
	dst = appendTwo(append(dst, ':'), t/60000%60)
	dst = appendTwo(append(dst, ':'), t/1000%60)
	dst = append(dst, '.', byte('0'+t/100%10))
	return append(appendTwo(dst, t%100), 'Z')
}

func appendTwo(dst []byte, n int) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }
