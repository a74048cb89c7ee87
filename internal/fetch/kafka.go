package fetch

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
)

// The versions that Kafka and ZooKeeper fetch.
const (
	KafkaVersion     = "4.4.0"
	ZooKeeperVersion = "3.9.5"
)

var (
	//go:embed kafka.pom.xml
	kafkaPOM []byte
	//go:embed zookeeper.pom.xml
	zooKeeperPOM []byte
)

// Kafka gives the folder of the jars that make an Apache Kafka broker: 60 MB
// through the user's Maven. Maven checks each jar against the checksum beside
// it; the versions, also of what comes transitively, are fixed by the two
// artifacts in kafka.pom.xml.
func Kafka(ctx context.Context) (string, error) {
	return jars(ctx, "Apache Kafka", "kafka-"+KafkaVersion, "kafka_2.13-"+KafkaVersion+".jar", kafkaPOM)
}

// ZooKeeper gives the folder of the jars that make an Apache ZooKeeper, 12 MB, as
// Kafka does.
func ZooKeeper(ctx context.Context) (string, error) {
	return jars(ctx, "Apache ZooKeeper", "zookeeper-"+ZooKeeperVersion, "zookeeper-"+ZooKeeperVersion+".jar", zooKeeperPOM)
}

// jars gets what a POM names, and looks whether the jar that matters is there.
func jars(ctx context.Context, what, name, jar string, pom []byte) (string, error) {
	return once(ctx, name, func(ctx context.Context, dir string) error {
		if _, err := Tool("java"); err != nil { // mvn's own message is three lines about JAVA_HOME
			return err
		}
		say("getting %s as %s with mvn", what, name)
		path := filepath.Join(dir, "pom.xml")
		if err := os.WriteFile(path, pom, 0o644); err != nil {
			return err
		}
		err := run(ctx, dir, nil, "mvn", "-B", "-q", "--strict-checksums", "-f", path, "dependency:copy-dependencies",
			"-DincludeScope=runtime", "-DoutputDirectory="+dir)
		if err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(dir, jar)); err != nil {
			return fmt.Errorf("mvn left no %s: %w", jar, err)
		}
		return nil
	})
}
