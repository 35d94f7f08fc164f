package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"hither/cache/store/disk"
)

// tierDisk is the disk's label in the metrics of all tiers.
const tierDisk = "disk"

var (
	diskState   = prometheus.NewDesc("hither_cache_disk_state", "1 while the disk tier is in use, 0 once it was turned off by a full, failing or hanging disk.", nil, nil)
	diskObjects = prometheus.NewDesc("hither_cache_disk_objects_total", "Objects at the disk tier, by what became of them there.", []string{"event"}, nil)
	diskWritten = prometheus.NewDesc("hither_cache_disk_written_bytes_total", "Bytes of objects written to disk.", nil, nil)
)

func describeDisk(ch chan<- *prometheus.Desc) {
	ch <- diskState
	ch <- diskObjects
	ch <- diskWritten
}

func collectDisk(ch chan<- prometheus.Metric, s disk.Stats) {
	state := 0.0
	if s.On {
		state = 1
	}
	ch <- prometheus.MustNewConstMetric(diskState, prometheus.GaugeValue, state)
	ch <- prometheus.MustNewConstMetric(cacheObjects, prometheus.GaugeValue, float64(s.Objects), tierDisk)
	ch <- prometheus.MustNewConstMetric(cacheBytes, prometheus.GaugeValue, float64(s.Bytes), tierDisk)
	for reason, v := range s.Evicted {
		ch <- prometheus.MustNewConstMetric(cacheEvictions, prometheus.CounterValue, float64(v), tierDisk, disk.Reason(reason).String())
	}
	for event, v := range map[string]uint64{
		"hit": s.Hits, "written": s.Written, "kept": s.Kept, "dropped": s.Dropped, "unproven": s.Unproven, "large": s.Large, "corrupt": s.Corrupt,
	} {
		ch <- prometheus.MustNewConstMetric(diskObjects, prometheus.CounterValue, float64(v), event)
	}
	ch <- prometheus.MustNewConstMetric(diskWritten, prometheus.CounterValue, float64(s.WrittenBytes))
}
