-- A stack's databases, each with an owner of its own; read by psql once, into an empty server.
-- The two variables name libpq's password files, whose fifth field is the password.
\set prefect_password `cut -d: -f5 "$PREFECT_DATABASE_FILE"`
\set mlflow_password `cut -d: -f5 "$MLFLOW_DATABASE_FILE"`
create role prefect login password :'prefect_password';
create role mlflow login password :'mlflow_password';
create database prefect owner prefect;
create database mlflow owner mlflow;
revoke all on database prefect, mlflow from public;
