"""The application of procrastinate: its tasks, and where its jobs are."""

import os

import procrastinate

app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=os.environ["DATABASE_URL"])
)


@app.task(queue="mail", name="mail")
def mail(to):
    print(f"mail to {to}", flush=True)
