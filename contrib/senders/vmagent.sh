#!/bin/sh
# vmagent scrapes what the Prometheus configuration names and sends it to Tidalite.
exec vmagent -promscrape.config="${1:-prometheus.yml}" -remoteWrite.url=http://127.0.0.1:9494/api/v1/write
