package fetch

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
)

// KafkaVersion is the Apache Kafka that Kafka fetches.
const KafkaVersion = "4.4.0"

//go:embed kafka.pom.xml
var kafkaPOM []byte

// Kafka gives the folder of the jars that make an Apache Kafka broker: 60 MB
// through the user's Maven. Maven checks each jar against the checksum beside
// it; the versions, also of what comes transitively, are fixed by the two
// artifacts in kafka.pom.xml.
func Kafka(ctx context.Context) (string, error) {
	return once(ctx, "kafka-"+KafkaVersion, func(ctx context.Context, dir string) error {
		if _, err := Tool("java"); err != nil { // mvn's own message is three lines about JAVA_HOME
			return err
		}
		say("getting Apache Kafka %s with mvn", KafkaVersion)
		pom := filepath.Join(dir, "pom.xml")
		if err := os.WriteFile(pom, kafkaPOM, 0o644); err != nil {
			return err
		}
		err := run(ctx, dir, nil, "mvn", "-B", "-q", "--strict-checksums", "-f", pom, "dependency:copy-dependencies",
			"-DincludeScope=runtime", "-DoutputDirectory="+dir)
		if err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(dir, "kafka_2.13-"+KafkaVersion+".jar")); err != nil {
			return fmt.Errorf("mvn left no broker jar: %w", err)
		}
		return nil
	})
}
